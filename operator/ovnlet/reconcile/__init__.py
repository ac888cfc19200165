"""The loop that makes each network equal to the desired one, and what calls it.

asyncio only. The node is behind Protocols: nothing of Kubernetes, netlink or OVSDB is imported.
"""
