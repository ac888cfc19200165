"""Looks at a node and says what is wrong with it, each finding with its fix. It changes nothing.

The kernel, OVSDB, OVN, files and the API server are looked at from here; the running agent is asked what it knows. Each
part works without the others: a node without an agent is examined as well.
"""
