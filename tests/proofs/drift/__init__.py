"""`make drift`: break a running node with foreign tools.

A foreign observer times the repairs.
"""
