"""The physical network that a Subnet with a Vlan is in, and how far nodes have joined a network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovnlet.core.ipam.subnets import Localnet, Subnet, Unusable
from ovnlet.core.underlay.networks import (
    ERROR,
    READY,
    ProviderNetwork,
    Vlan,
    excludes,
    label,
)

# 0 is untagged, and 4095 is reserved (IEEE 802.1Q, table 9-2).
_HIGHEST = 4094
# Reasons of a condition, as Kube-OVN's controller writes them.
_DONE, _FAILED = "InitOVSBridgeSucceeded", "InitOVSBridgeFailed"
_JOINED = "its interface is in the bridge"
_SILENT = "its agent has not reported yet: is the setting underlay `manage`?"


@dataclass(frozen=True, slots=True)
class Member:
    """A Node: its labels, and of its annotations those of provider networks."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def placed(subnet: Subnet, vlans: Iterable[Vlan], networks: Iterable[ProviderNetwork]) -> Subnet:
    """Return a Subnet with the physical network of its Vlan; itself without a Vlan.

    Raise Unusable where the Vlan or its network does not exist, or another Vlan has its ID: frames
    of both Subnets would be in one network.
    """
    if not subnet.vlan:
        return subnet
    every = sorted(vlans, key=lambda each: (each.created, each.name))
    found = next((each for each in every if each.name == subnet.vlan), None)
    if found is None:
        raise Unusable(f"Vlan {subnet.vlan} does not exist")
    if not 0 <= found.number <= _HIGHEST:
        raise Unusable(f"Vlan {found.name} has ID {found.number}: it must be from 0 to {_HIGHEST}")
    first = next(each for each in every if _same(each, found))
    if found.number and first.name != found.name:
        raise Unusable(
            f"Vlan {found.name} has ID {found.number} of ProviderNetwork {found.provider}, "
            f"as Vlan {first.name} has"
        )
    if not any(each.name == found.provider and not each.deleting for each in networks):
        raise Unusable(f"ProviderNetwork {found.provider} of Vlan {found.name} does not exist")
    return replace(subnet, localnet=Localnet(found.provider, found.number))


def _same(one: Vlan, other: Vlan) -> bool:
    return (one.provider, one.number) == (other.provider, other.number)


def status(
    network: ProviderNetwork,
    vlans: Iterable[Vlan],
    nodes: Iterable[Member],
    now: str,
) -> dict[str, Any]:
    """Return the status of a network by what its nodes' agents wrote to their Nodes.

    Conditions that stay as they are in the network's status keep their times; ``now`` is the time
    of the others.
    """
    known = {each.get("node"): each for each in network.status.get("conditions") or ()}
    names: dict[bool, list[str]] = {True: [], False: []}
    conditions = []
    for node in sorted(nodes, key=lambda each: each.name):
        if not excludes(network, node.name, node.labels):
            good = node.labels.get(label(network.name, READY)) == "true"
            names[good].append(node.name)
            why = node.annotations.get(label(network.name, ERROR), "") or _SILENT
            message = _JOINED if good else why  # Kubernetes 1.20 takes an empty text for none
            before = known.get(node.name, {})
            conditions.append(_condition(node.name, good, message, before, now))
    return {
        "ready": bool(names[True]) and not names[False],
        "readyNodes": names[True],
        "notReadyNodes": names[False],
        "vlans": sorted(each.name for each in vlans if each.provider == network.name),
        "conditions": conditions,
    }


def _condition(
    node: str, good: bool, message: str, before: Mapping[str, Any], now: str
) -> dict[str, Any]:
    new = {"node": node, "type": "Ready", "status": str(good)}
    new |= {"reason": _DONE if good else _FAILED, "message": message}
    same = all(before.get(name) == value for name, value in new.items())
    changed = before.get("status") != new["status"]
    return new | {
        "lastUpdateTime": before.get("lastUpdateTime") if same else now,
        "lastTransitionTime": now if changed else before.get("lastTransitionTime"),
    }
