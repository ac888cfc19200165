"""The controller's side of the house: subnets, pods and nodes, each key by a pass of its own, through one queue."""
