"""`make demo`: build a standalone cluster of two nodes on this machine.

Foreign tools break it, and ovnlet repairs it.
"""
