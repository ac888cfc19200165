"""Golden stories in YAML files: what a pod should have, what there is, and the plan.

``desired`` are annotations by their short names and values of the Subnet, or ``absent``.
``observed`` starts ``like`` something, then resources are ``lost``, ``changed`` or ``added``; they
are named as in a plan.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from ovnlet.core import (
    annotations,
    chassis,
    desired,
    encap,
    gateway,
    gateway_network,
    gateway_routing,
    node_network,
)
from ovnlet.core.identity import Attachment, Node, NodeInterface
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.plan import Plan, Step, Verb, diff
from ovnlet.core.resources import (
    ABSENT,
    Address,
    CniFile,
    CniSocket,
    CompetingRoute,
    DuplicateIfaceId,
    Flows,
    KubeOvnChains,
    KubeOvnRules,
    KubeOvnSets,
    LinkEntry,
    Network,
    Port,
    Resource,
    Route,
    Veth,
)
from ovnlet.core.underlay.networks import Intent
from ovnlet.core.underlay.record import Found, Record

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))
ATTACHMENT = Attachment(
    "c0ffee5b1e55" + "0" * 52, "eth0", "/run/netns/cni-1", "shop", "web-0", "u-1", "ovn", "boot", 1
)
Facts = Mapping[str, Any]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    check(yaml.safe_load(path.read_text()))


def test_a_wrong_plan_fails_with_a_readable_difference() -> None:
    story = yaml.safe_load((Path(__file__).parent / "default-route-lost.yaml").read_text())
    wrong = [line.replace("via 10.16.0.1", "via 10.16.0.9") for line in story["plan"]]
    with pytest.raises(pytest.fail.Exception) as caught:
        check(story | {"plan": wrong})
    assert "-+ Route eth0 0.0.0.0/0 via 10.16.0.9 source 10.16.0.5\n++ Route" in str(caught.value)


def test_there_are_at_least_twelve_stories_and_no_two_alike() -> None:
    stories = [yaml.safe_load(path.read_text())["story"] for path in STORIES]
    assert len(set(stories)) == len(stories) >= 12


def check(story: Facts) -> None:
    wanted = network(story["desired"], story.get("node", {}))
    plan = [str(step) for step in between(story, wanted)]
    if difference := "\n".join(
        difflib.unified_diff(story["plan"], plan, "the story's plan", "the real plan", lineterm="")
    ):
        pytest.fail(f"{story['story']}\n{difference}", pytrace=False)


def between(story: Facts, wanted: Network) -> Plan:
    return diff(wanted, observed(story.get("observed", {}), story, wanted))


def network(facts: Facts | str, node: Facts) -> Network:
    if facts == "absent":
        return ABSENT
    assert isinstance(facts, Mapping)
    if of_node := _of_the_node(facts):
        return of_node
    text = {
        name if " " in name else annotations.key("ovn", name): str(value)
        for name, value in facts.items()
    }
    lacks = frozenset(node.get("lacks", ()))
    where = Node("br-int", node.get("mtu", 1400), node.get("datapath") == "userspace", lacks)
    if "cluster" in node:  # the node's own interface, not a pod's
        clusters = frozenset(map(ip_network, node["cluster"]))
        return node_network.network(NodeInterface("n0"), text, node_network.Reach(clusters), where)
    return desired.network(ATTACHMENT, annotations.parse(text, "ovn", "eth0"), where)


def _of_the_node(facts: Facts) -> Network:
    """Return what is desired of the node, by the one fact that says which part of it."""
    return next((make(facts) for name, make in OF_THE_NODE.items() if name in facts), ABSENT)


def _of_files(facts: Facts) -> Network:
    """Return what a container runtime reads."""
    return frozenset(
        CniFile(*_split(path), digest, 0o600) for path, digest in facts["files"].items()
    ) | frozenset(CniSocket(path) for path in facts.get("sockets", ()))


def _as_gateway(facts: Facts) -> Network:
    """Return what the node does for the cluster."""
    given = {name: _as_text(value) for name, value in facts["as gateway"].items()}
    cluster, beside = gateway.parse(given), facts.get("beside", {})
    lan = [HostPrefix(ip_network(each), "eth0") for each in beside.get("lan", ())]
    chains = [("ip", each) for each in beside.get("chains", ())]
    return frozenset(
        {
            *gateway_network.tables(cluster),
            *gateway_routing.routing(cluster, {}, lan).resources,
            *gateway_routing.accepts(cluster, chains),
        }
    )


def _of_an_uplink(facts: Facts) -> Network:
    """Return what of the node is in a bridge, or on its NIC again."""
    intent = Intent("net1", "eth0", "br-net1", tuple(facts["trunks"]))
    entries = tuple(
        LinkEntry("eth0", text.split()[0], text.split(" ", 1)[1], text.encode(), place)
        for place, text in enumerate(facts["uplink"])
    )
    found = Found(entries, "02:00:00:00:00:01", "", "02:00:00:00:00:02")
    return Record(intent, found, facts["phase"]).desired()


OF_THE_NODE: dict[str, Callable[[Facts], Network]] = {
    "chassis": lambda facts: chassis.desired("br-int", facts["chassis"], create=True),
    "tunnels": lambda facts: encap.desired(encap.Sources(**facts["tunnels"]), facts["links"], ""),
    "as gateway": _as_gateway,
    "uplink": _of_an_uplink,
    "flows": lambda facts: frozenset({Flows(facts["flows"])}),
    "files": _of_files,
}


def observed(facts: Facts, story: Facts, wanted: Network) -> Network:
    resources = {words(resource): resource for resource in _beginning(facts, story, wanted)}
    for name in facts.get("lost", ()):
        del resources[name]
    for name, changes in facts.get("changed", {}).items():
        resources[name] = changed(resources[name], changes)
    return frozenset(
        (*resources.values(), *(added(line, wanted) for line in facts.get("added", ())))
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _beginning(facts: Facts, story: Facts, wanted: Network) -> Network:
    match facts["like"]:
        case "desired":
            return wanted
        case "nothing":
            return ABSENT
        case {"node": node}:
            return network(story["desired"], node)
        case before:
            return network(
                {**(story["desired"] if story["desired"] != "absent" else {}), **before},
                story.get("node", {}),
            )


def _split(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return directory, name


def words(resource: Resource) -> str:
    return str(Step(Verb.REMOVE, resource)).removeprefix("- ")


def changed(resource: Resource, changes: Facts) -> Resource:
    if isinstance(resource, Port):
        facts = {name: changes[name] for name in ("orphaned", "blocked") if name in changes}
        own = {name: value for name, value in changes.items() if name not in facts}
        labels = {**resource.ids, **own}
        kept = frozenset((name, value) for name, value in labels.items() if value is not None)
        return replace(resource, external_ids=kept, **dict(_typed(facts)))
    return replace(resource, **dict(_typed(changes)))


def _typed(changes: Facts) -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        match name:
            case "via" | "source":
                yield name, ip_address(value) if value else None
            case "ip":
                yield name, ip_interface(value)
            case "incomplete" | "blocked" | "trunks":
                yield name, tuple(value)
            case _:
                yield name, value


_LEFT: dict[str, Resource] = {
    "KubeOvnChains": KubeOvnChains("ip", "nat", ("OVN-POSTROUTING",)),
    "KubeOvnRules": KubeOvnRules("ip", 2),
    "KubeOvnSets": KubeOvnSets(("ovn40subnets",)),
}


def added(line: str, wanted: Network) -> Resource:
    veth = next((resource.key for resource in wanted if isinstance(resource, Veth)), ())
    match line.split():
        case ["DuplicateIfaceId", interface, iface_id]:
            return DuplicateIfaceId(interface, iface_id)
        case ["Route", pod, destination, "via", via]:
            return Route(veth, pod, ip_network(destination), ip_address(via), None)
        case ["CompetingRoute", pod, destination, "via", via, "proto", protocol, "metric", metric]:
            hops = (ip_address(via),)
            return CompetingRoute(
                veth, pod, ip_network(destination), hops, None, int(protocol), int(metric)
            )
        case ["Address", pod, ip]:
            return Address(veth, pod, ip_interface(ip))
        case [kind, *_] if kind in _LEFT:
            return _LEFT[kind]
        case ["Port", bridge, name]:
            return Port(bridge, name, frozenset())
        case _:
            raise ValueError(line)
