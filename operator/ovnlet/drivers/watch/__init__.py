"""Notifications of the kernel and the file system, turned into hints: which key to look at."""
