"""The test bed: a whole Kubernetes node (or two) on one Debian machine, private to its name, made of real parts."""
