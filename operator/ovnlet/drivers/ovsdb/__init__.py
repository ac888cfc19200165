"""The OVSDB protocol: JSON-RPC (RFC 7047), a live replica, batched transactions, control sockets.

Nothing here knows a table of Open_vSwitch or of OVN. That belongs to `ovs` and `northbound`.
"""
