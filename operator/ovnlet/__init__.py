"""ovnlet: the network of a node's pods, desired, observed and made equal by one loop.

Rooms, from the top: ``__main__`` (command line), ``agent`` (wiring), ``cluster`` (API server) and
``drivers`` (the node), ``reconcile`` (the loop), ``core`` (pure values). Imports only go down.
"""

__version__ = "0.1.0"
