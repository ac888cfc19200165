"""The OVSDB protocol: JSON-RPC (RFC 7047), a live replica, batched transactions, control sockets."""
