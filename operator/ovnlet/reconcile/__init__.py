"""The loop: what makes a network equal to the one desired, whoever asked for it.

asyncio only. It knows the node as a Protocol, and nothing of Kubernetes, netlink or OVSDB.
"""
