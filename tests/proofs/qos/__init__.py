"""Limits measured with traffic: what really arrives at a pod's interface, and how soon an edit is in force."""
