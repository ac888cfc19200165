"""The kernel's module `openvswitch` unloaded and loaded again, with its datapath and all ports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drift.environment import Environment
from testbed import switch

# Linux 7.3 has no vport_geneve.
UNLOAD = "ovs-dpctl del-dp ovs-system; modprobe -rq vport_geneve; modprobe -r openvswitch"


@contextmanager
def reloaded(env: Environment, seconds: float) -> Iterator[None]:
    """Stop ovs-vswitchd, unload the module, load it again, and start ovs-vswitchd.

    The module cannot be unloaded while a datapath exists; ovs-vswitchd leaves its own behind.
    """
    node = env.bed.node()
    node.service("ovs-vswitchd").stop()
    node.sh(UNLOAD)
    yield
    time.sleep(seconds)
    node.run(["modprobe", "openvswitch"])
    switch.start_vswitchd(node)
