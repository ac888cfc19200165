"""Who gets which address: subnets, pools, claims and the decision. Values in, values out; no I/O."""
