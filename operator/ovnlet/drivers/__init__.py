"""Drivers of the node and of OVN. Only they touch netlink, OVSDB, nftables and /proc."""
