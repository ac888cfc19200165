"""`make soak`: break a node's parts for an hour while pods come and go.

After each fault every pod is right, nothing of a dead one is left and nothing grows.
"""
