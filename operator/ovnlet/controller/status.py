"""The status of Subnets and IPPools: conditions, and how many addresses are used and free."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ovnlet.core.ipam.claims import bound
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.resources.northbound import SwitchPort

# Whether it is true, the reason, and a message.
Condition = tuple[bool, str, str]


def conditions(status: Mapping[str, Any], wanted: Mapping[str, Condition]) -> list[dict[str, Any]]:
    """Return the conditions by type. A condition's time is that of its last change."""
    before = {each["type"]: each for each in status.get("conditions") or ()}
    listed = []
    for kind, (good, reason, message) in wanted.items():
        new = {"type": kind, "status": str(good), "reason": reason, "message": message}
        old = before.get(kind, {})
        same = all(old.get(name) == value for name, value in new.items())
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        listed.append({**new, "lastTransitionTime": old.get("lastTransitionTime") if same else now})
    return listed


def figures(subnet: Subnet | None, ports: Iterable[SwitchPort]) -> dict[str, Any]:
    """Return the numbers of used and free addresses under Kube-OVN's names.

    The caller leaves disabled ports out, although their addresses are not free yet.
    """
    bindings = [binding for port in ports if (binding := bound(port.addresses))]
    using = {
        family: sum(a.version == family for b in bindings for a in b.addresses) for family in (4, 6)
    }
    free = max(subnet.capacity - using[4], 0) if subnet is not None else 0
    return {"v4usingIPs": using[4], "v6usingIPs": using[6], "v4availableIPs": free}
