"""Ports, limits and chassis keys in the local Open vSwitch database. Built on `ovsdb`."""
