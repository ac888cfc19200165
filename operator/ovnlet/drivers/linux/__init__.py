"""Transport and codecs: netlink sockets and messages, ethtool, sysctl files, namespaces.

The modules here know the kernel's formats only. What ovnlet wants on a node may not go in.
"""
