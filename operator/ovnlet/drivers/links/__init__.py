"""Links, addresses, routes, traffic control and nftables of a pod and of the node.

Built on the codecs of `linux`. Nothing here knows Open vSwitch or Kubernetes."""
