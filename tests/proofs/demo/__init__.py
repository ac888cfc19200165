"""`make demo`: a cluster of two nodes that stands alone, built, broken and healed on this machine."""
