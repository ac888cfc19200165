"""A test bed: one or two whole Kubernetes nodes on a Debian machine, made of real programs.

Every bed has a name, and nothing that runs in it reaches the machine or another bed.
"""
