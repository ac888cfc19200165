"""Transport and codecs: netlink sockets and messages, ethtool, sysctl files, namespaces.

Nothing here knows what ovnlet wants; it only speaks the kernel's formats."""
