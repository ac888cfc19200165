"""What is observed of the node as a gateway, by `nft` and `ip`, and the Subnets that it is for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

from testbed import layout

TABLE, PRIORITY = 1001, 3000
# The switch of the pods, and one that leaves by a gateway of its own.
POLICIES = [
    {"match": {"dstIPs": "172.30.0.3"}, "action": "forward"},
    {"match": {"dstIPs": "0.0.0.0/0,::/0"}, "action": "nat"},
]
SUBNETS: dict[str, dict[str, Any]] = {
    "ovn-default": {
        "cidrBlock": layout.PODS,
        "default": True,
        "natOutgoing": True,
        "natOutgoingPolicyRules": POLICIES,
    },
    "egress": {
        "cidrBlock": "10.20.0.0/16,fd00:10:20::/64",
        "gatewayType": "centralized",
        "gatewayNode": "n0",
        "externalEgressGateway": f"{layout.CONTROL_IP},{layout.CONTROL_IP6}",
        "policyRoutingTableID": TABLE,
        "policyRoutingPriority": PRIORITY,
    },
}
_LIST = "list table inet ovnlet; list chain ip filter FORWARD; list chain ip6 filter FORWARD"
_PER_PACKET = ("handle", "packets", "bytes")


def observe() -> Iterator[tuple[str, str]]:
    """Yield every fact of the gateway and of the node's interface."""
    yield from _nftables()
    for family in ("-4", "-6"):
        rules = _json("ip", family, "-j", "rule")
        ours = sorted(f"{r['src']} {r['table']}" for r in rules if r["priority"] == PRIORITY)
        yield f"gateway rules {family}", "; ".join(ours)
        routes = _json("ip", family, "-j", "route", "show", "table", "all", "proto", "157")
        elsewhere = sorted(_route(each) for each in routes if each.get("table"))
        yield f"gateway routes {family}", "; ".join(elsewhere)
        routes = _json("ip", family, "-j", "route", "show", "dev", "ovn0")
        yield f"ovn0 routes {family}", "; ".join(sorted(map(_route, routes)))
    for link in _json("ip", "-j", "address", "show", "dev", "ovn0"):
        yield "ovn0 link", f"{link['address']} {link['mtu']} {'UP' in link['flags']}"
        found = (each for each in link["addr_info"] if each["scope"] == "global")
        yield "ovn0 addresses", " ".join(sorted(each["local"] for each in found))


def _route(route: dict[str, Any]) -> str:
    keys = ("dst", "gateway", "dev", "prefsrc", "metric", "table", "protocol")
    return " ".join(f"{key} {route[key]}" for key in keys if key in route)


def _nftables() -> Iterator[tuple[str, str]]:
    """Yield a fact for each thing in the table, and our rules in front of others.

    What `nft` refuses to list is not there.
    """
    listed = [each for line in _LIST.split("; ") for each in _objects(line)]
    rules: dict[str, list[str]] = {}
    for body in (each["rule"] for each in listed if "rule" in each):
        chain = f"{body['family']} {body['table']} {body['chain']}"
        rules.setdefault(chain, []).append(_plain(body))
    for each in listed:
        for kind, body in each.items():
            yield from _object(kind, body, rules)
    for family in ("ip", "ip6"):
        front = rules.get(f"{family} filter FORWARD", [])
        others = (at for at, rule in enumerate(front) if '"ovnlet"' not in rule)
        first = next(others, len(front))
        extra = sum('"ovnlet"' in rule for rule in front[first:])
        yield f"gateway accepts {family} ", f"{' '.join(front[:first])}, {extra} elsewhere"


def _object(
    kind: str, body: dict[str, Any], rules: dict[str, list[str]]
) -> Iterator[tuple[str, str]]:
    if kind == "table":
        yield "gateway table", str(body.get("flags", ""))
    elif kind in ("set", "map"):
        elements = sorted(json.dumps(one) for one in body.get("elem", ()))
        yield f"gateway set {body['name']}", " ".join(elements)
    elif kind == "counter":
        yield f"gateway counter {body['name']}", "is there"
    elif kind == "chain" and body["table"] == "ovnlet":
        hook = " ".join(str(body.get(key, "")) for key in ("type", "hook", "prio", "policy"))
        own = rules.get(f"inet ovnlet {body['name']}", [])
        yield f"gateway chain {body['name']}", f"{hook}: {' '.join(own)}"


def _objects(line: str) -> list[dict[str, Any]]:
    done = subprocess.run(["nft", "-j", *line.split()], capture_output=True, text=True, check=False)
    return list(json.loads(done.stdout)["nftables"]) if done.returncode == 0 else []


def _plain(rule: dict[str, Any]) -> str:
    """Return a rule's expressions and comment without what changes with each packet."""
    text = json.dumps([rule.get("comment"), rule["expr"]], sort_keys=True)
    body = json.loads(text, object_hook=_without)
    return json.dumps(body, sort_keys=True)


def _without(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in _PER_PACKET}


def _json(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return [each for each in json.loads(done.stdout or "[]") if each]
