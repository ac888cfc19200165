"""The node: the only rooms that touch netlink, OVSDB, nftables and /proc."""
