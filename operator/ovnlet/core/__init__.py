"""The core: what a pod's network should be, and the steps to get there from what it is.

Functions here take values and return values. No I/O, clock, logging or asyncio may go in;
import-linter enforces it.
"""
