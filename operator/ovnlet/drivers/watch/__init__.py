"""Notifications of the kernel and the file system as hints: which key to look at."""
