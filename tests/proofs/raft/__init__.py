"""Faults of a clustered northbound database while pods are created, and what they cost."""
