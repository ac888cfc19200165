"""Who gets which address: subnets, pools, claims and the decision.

Functions here take values and return values; no I/O may go in.
"""
