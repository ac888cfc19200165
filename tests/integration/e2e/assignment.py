"""What the controller has assigned to pods: by their annotations, and by their ports in OVN."""

import json

from testbed.bed import Bed
from testbed.workloads import Running


def pinned(bed: Bed) -> dict[str, str]:
    """Return the addresses that each pod's port is pinned to, by the port's name."""
    words = (
        "--format=json",
        "--columns=name,addresses",
        "find",
        "Logical_Switch_Port",
        "external_ids:ovnlet=pod",
    )
    rows = json.loads(bed.nbctl(*words))["data"]
    return {name: addresses for name, addresses in rows if isinstance(addresses, str)}


def given(pods: list[Running]) -> dict[str, str]:
    """Return the addresses that each pod was given by its annotations, by its port's name."""
    return {f"{each.name}.default": " ".join((each.mac, *each.ips)) for each in pods}
