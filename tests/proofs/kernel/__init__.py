"""Proofs on the kernel's datapath, in a virtual machine with a stock kernel."""
