"""The core: what a pod's network should be, and the steps from what it is.

No I/O, no clock, no logging, no asyncio: values in, values out. import-linter proves it.
"""
