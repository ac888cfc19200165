"""The agent of one node: its wiring, its start-up and what it serves over sockets.

Only `wiring` knows every part. No other module here imports a sibling's internals.
"""
