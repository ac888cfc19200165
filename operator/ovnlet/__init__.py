"""ovnlet: makes and repairs the network of a node's pods on OVS/OVN.

Packages, from the top: ``__main__`` and ``cli`` (commands), ``agent`` and ``controller`` (wiring),
``doctor`` (diagnosis), ``client``, ``logs`` and ``serving``, ``kube`` (API server) and ``drivers``
(the node and OVN), ``reconcile`` (the loop), ``core`` (pure values). Imports only go down.
"""
