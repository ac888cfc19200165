"""Ports, traffic limits and chassis keys in the local Open_vSwitch database. Built on `ovsdb`."""
