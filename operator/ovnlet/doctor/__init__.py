"""Examines a node and reports what is wrong with it, each finding with its fix. It changes nothing.

The kernel, OVSDB, OVN, files and the API server are examined directly; a running agent is asked for
what it knows. Each part works without the others, so a node without an agent can be examined too.
"""
