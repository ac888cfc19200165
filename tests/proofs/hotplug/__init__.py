"""Interfaces plugged into running pods and out again, under load, with a soak's checks."""
