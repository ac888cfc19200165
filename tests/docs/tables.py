"""Generated tables in pages that are written by hand.

A table is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from docs.blocks import ROOT
from ovnlet.core import annotations, routing
from ovnlet_cni import netconf, request
from ovnlet_cni.errors import SUPPORTED_VERSIONS

_PLACE = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, made: Mapping[str, Callable[[], str]]) -> str:
    """Return the page with its tables generated; raise ValueError if it lacks a place for one."""
    places = {found[2] for found in _PLACE.finditer(page)}
    if places != set(made):
        raise ValueError(
            f"the page has places for {sorted(places)}, there are tables {sorted(made)}"
        )
    return _PLACE.sub(lambda found: f"{found[1]}\n{made[found[2]]()}\n{found[3]}", page)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(columns)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Bound:
    """The least and the most allowed value of an annotation, and values just outside.

    Where zero is allowed it means that there is no limit.
    """

    least: str
    most: str
    beyond: tuple[str, ...]
    told: str


_RATE = Bound(
    "1", "1000000", ("-1", "1000001", "1.5"), "whole Mbit/s, 1 to 1000000; `0` for no limit"
)
_BURST = Bound(
    "1",
    "32000",
    ("-1", "32001", "0.5"),
    "whole Mbit, at most 32000 and what passes in 270 s at the rate; `0` means the default",
)
_DELAY = Bound(
    "1", "60000", ("-1", "60001", "0.5"), "whole milliseconds up to 60000, of packets to the pod"
)
_QUANTITY = Bound(
    "12k",
    "1T",
    ("11k", "1001G"),
    "bits per second as a quantity (`500k`, `10M`, `1Gi`), from `12k` to `1T`;"
    " of the pod's first interface",
)
BANDWIDTHS = ("kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth")
BOUNDS: Mapping[str, Bound] = {
    **dict.fromkeys(("ingress_rate", "egress_rate"), _RATE),
    **dict.fromkeys(("ingress_burst", "egress_burst"), _BURST),
    **dict.fromkeys(("latency", "jitter"), _DELAY),
    "loss": Bound(
        "0.0001",
        "100",
        ("-1", "100.1", "0.00001"),
        "per cent of packets to the pod, 0.0001 to 100, fractions included",
    ),
    "limit": Bound(
        "1", "1000000", ("-1", "1000001"), "packets that wait for `latency` at once, up to 1000000"
    ),
    **dict.fromkeys(BANDWIDTHS, _QUANTITY),
}
_WITHOUT = {
    "ingress_rate": "see below",
    "ingress_burst": "what passes in 100 ms at the rate",
    "latency": "none",
    "loss": "none",
    "limit": "1000",
}
_SAYS = {
    "ip_address": "`10.16.0.5` or `10.16.0.5,fd00::5`",
    "cidr": "the prefix of each family",
    "mac_address": "a unicast MAC",
    "logical_switch": "the OVN switch",
    "default_route": (
        "`true` or `false`; by default `true` on `eth0`,"
        " unless another interface of the pod has `true`"
    ),
    "gateway": "one address of each family, inside `cidr`",
    "routes": (
        '`[{"dst":"192.0.2.0/24","gw":"10.16.0.254"}]`; without `dst` a default route;'
        f" gateways inside `cidr`; at most {routing._MAX_ROUTES}"
    ),
    "allocated": "`true`; ADD waits for it",
    "routed": "`true`; ADD waits for it",
    "provider_network": (
        "the ProviderNetwork of a Subnet with a `vlan`; ADD waits for the node's uplink"
    ),
}
_NODE_SAYS = {
    "ip_address": "one address of each family in the join network",
    "cidr": "the join network's prefix of each family",
    "mac_address": "a unicast MAC",
    "gateway": (
        "one address of each family, inside `cidr`:"
        " the next hop to the prefixes of the Subnets and of the setting `cluster_cidrs`"
    ),
    "port_name": "the logical switch port; `node-<name of the Node>` without it",
    "logical_switch": "not needed",
}


def _pods() -> str:
    when = dict.fromkeys(annotations.FIXED, "fixed for a sandbox") | dict.fromkeys(
        annotations.ROUTING, "live"
    )
    ready = (*annotations._READY, annotations.PROVIDER_NETWORK)
    names = (*annotations.FIXED, *annotations.ROUTING, *ready)
    return _table(
        ("name", "value", "when it changes"),
        ((f"`{name}`", _SAYS[name], when.get(name, "")) for name in names),
    )


def _own() -> str:
    what = (
        "`fix`, `report` or `off`: what to do about drift of this pod,"
        " instead of the agent's setting `repair`."
        " For pods with NET_ADMIN that change their routes on purpose"
    )
    return _table(
        ("key of ovnlet", "value", "when it changes"), [(f"`{annotations.REPAIR}`", what, "live")]
    )


def _limits() -> str:
    """Return the table of the limits; names with the same bound share a row."""
    lines: dict[str, list[str]] = {}
    for name in annotations._QOS:
        lines.setdefault(BOUNDS[name].told, []).append(name)
    shown = [
        (", ".join(f"`{n}`" for n in names), told, _WITHOUT[names[0]])
        for told, names in lines.items()
    ]
    return _table(("name", "value", "without it"), shown)


def _bandwidths() -> str:
    assert tuple(annotations._BANDWIDTH.values()) == BANDWIDTHS
    return _table(
        ("key of Kubernetes", "value"), [(", ".join(f"`{n}`" for n in BANDWIDTHS), _QUANTITY.told)]
    )


def _nodes() -> str:
    return _table(
        ("name", "value"), ((f"`{name}`", _NODE_SAYS[name]) for name in annotations._NODE)
    )


_VERBS = {
    "ADD": (
        "waits up to 110 s in total for the annotations, the port and `ovn-installed`;"
        " repeating it is success"
    ),
    "DEL": (
        "identifies the attachment by container ID and interface alone; repeating it is success;"
        " without an agent the plugin records it, and the agent performs it later"
    ),
    "CHECK": (
        "one look, no API call; fails with the plan that is left for what prevResult lists,"
        " code 11 if OVS or OVN does not serve the port"
    ),
    "GC": (
        "removes attachments that the runtime no longer lists and whose sandbox is dead;"
        " one that is unlisted but alive is logged and kept"
    ),
    "STATUS": (
        "50 if this node cannot attach pods, 51 if ovs-vswitchd is gone and running pods may be"
        " cut off;"
        " with the reason"
    ),
    "VERSION": f"answered by the plugin itself: {', '.join(SUPPORTED_VERSIONS)}",
}


def _verbs() -> str:
    rows = []
    for verb, needs in request._REQUIRED.items():
        since = netconf._FIRST_VERSION.get(verb, SUPPORTED_VERSIONS[0])
        rows.append((verb, since, ", ".join(f"`{name}`" for name in needs), _VERBS[verb]))
    return _table(("verb", "since", "needs", "what it does"), rows)


def _fields(part: str, kind: str = "subnet") -> Callable[[], str]:
    def table() -> str:
        crd = yaml.safe_load((ROOT / f"manifests/standalone/{kind}.yaml").read_text())
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
        needed = schema.get("required", ())
        rows = [
            (f"`{name}`", _kind(field), "yes" if name in needed else "", field["description"])
            for name, field in schema["properties"].items()
        ]
        return _table(("field", "type", "required", "what it is"), rows)

    return table


def _kind(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value)
    if field["type"] == "array":
        return f"list of {'objects' if field['items']['type'] == 'object' else 'text'}"
    bounds = f", {field['minimum']} to {field['maximum']}" if "maximum" in field else ""
    words = {"string": "text", "boolean": "`true`, `false`", "integer": "number"}
    kind: str = field["type"]
    return words.get(kind, kind) + bounds


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "annotations.md": {
        "pods": _pods,
        "own": _own,
        "limits": _limits,
        "bandwidths": _bandwidths,
        "nodes": _nodes,
    },
    "cni.md": {"verbs": _verbs},
    "subnet.md": {
        "spec": _fields("spec"),
        "status": _fields("status"),
        "ippool": _fields("spec", "ippool"),
        "ippool status": _fields("status", "ippool"),
        "provider network": _fields("spec", "provider-network"),
        "provider network status": _fields("status", "provider-network"),
        "vlan": _fields("spec", "vlan"),
    },
}
