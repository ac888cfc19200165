"""`make qos`: measure limits with traffic, where it arrives at a pod's interface."""
