"""Provider networks: which NIC of the node joins which bridge, and what moves with it."""
