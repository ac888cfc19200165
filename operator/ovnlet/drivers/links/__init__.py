"""Links, addresses, routes, traffic control and nftables of a pod and of the node.

The modules build on the codecs of ``linux``. Nothing about Open vSwitch or Kubernetes may go in.
"""
