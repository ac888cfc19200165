"""Traffic shaping in a real pod: what tc shows, foreign changes, the cost of an observation."""

import subprocess
from dataclasses import replace

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.plan import Verb
from ovnlet.core.resources import ABSENT, HtbQdisc, Network, PoliceFilter, TbfQdisc, Veth
from ovnlet.core.resources.qos import HTB, POLICE, TBF
from ovnlet.drivers.links import traffic_control
from ovnlet.drivers.links.kernel_features import KernelFeatures
from ovnlet.drivers.linux.tc import GETQDISC, GETTCLASS, GETTFILTER
from ovnlet.drivers.linux.transport import Request, Socket

PLAIN = network(*DUAL)
VETH = next(each for each in PLAIN if isinstance(each, Veth))
SHAPER = TbfQdisc(VETH.key, "eth0", 5_000_000, 500_000)
WANTED: Network = PLAIN | {SHAPER}


def tc(bed: Bed, *words: str, netns: str = "") -> str:
    command = ["tc", "-n", netns or bed.pod.name, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


@pytest.mark.parametrize("rate", [12_000, 1_000_000, 20_000_000, 10**10, 10**11, 10**12])
async def test_tc_shows_the_requested_rate(bed: Bed, rate: int) -> None:
    wanted = PLAIN | {TbfQdisc(VETH.key, "eth0", rate, min(max(rate // 10, 100_000), 32 * 10**9))}
    await bed.converge(wanted)
    shown = tc(bed, "qdisc", "show", "dev", "eth0", "root")
    assert shown.startswith("qdisc tbf 157: root")
    assert bed.netlink.observe(bed.attachment, wanted) == wanted


async def test_an_edit_changes_it_in_place_and_a_withdrawal_leaves_nothing(bed: Bed) -> None:
    await bed.converge(WANTED)
    before = tc(bed, "-s", "qdisc", "show", "dev", "eth0")
    edited = PLAIN | {replace(SHAPER, rate=20_000_000, burst=2_000_000)}
    (step,) = await bed.converge(edited)
    assert str(step) == "~ TbfQdisc eth0: rate 5000000 -> 20000000, burst 500000 -> 2000000"
    after = tc(bed, "-s", "qdisc", "show", "dev", "eth0")
    assert "rate 20Mbit burst 250000b" in after
    assert after.partition("Sent")[2].split()[0] >= before.partition("Sent")[2].split()[0]
    (step,) = await bed.converge(PLAIN)
    assert step.verb is Verb.REMOVE
    assert "noqueue" in tc(bed, "qdisc", "show", "dev", "eth0")


@pytest.mark.parametrize(
    "damage",
    [
        ("del", "dev", "eth0", "root"),
        (
            "change",
            "dev",
            "eth0",
            "handle",
            "157:",
            "root",
            "tbf",
            "rate",
            "1gbit",
            "burst",
            "1m",
            "limit",
            "1m",
        ),
        ("replace", "dev", "eth0", "root", "handle", "9:", "htb"),
        (
            "replace",
            "dev",
            "eth0",
            "root",
            "handle",
            "9:",
            "tbf",
            "rate",
            "5mbit",
            "burst",
            "62500",
            "limit",
            "1m",
        ),
    ],
    ids=lambda words: words[0] + words[-1],
)
async def test_damage_is_seen_and_repaired(bed: Bed, damage: tuple[str, ...]) -> None:
    await bed.converge(WANTED)
    tc(bed, "qdisc", *damage)
    (step,) = await bed.converge(WANTED)
    assert step.resource == SHAPER
    assert await bed.converge(WANTED) == ()


async def test_what_a_pod_has_of_its_own_is_left(bed: Bed) -> None:
    await bed.converge(PLAIN)
    tc(
        bed,
        "qdisc",
        "replace",
        "dev",
        "eth0",
        "root",
        "handle",
        "9:",
        "tbf",
        "rate",
        "5mbit",
        "burst",
        "9k",
        "limit",
        "1m",
    )
    assert await bed.converge(PLAIN) == ()
    assert "qdisc tbf 9:" in tc(bed, "qdisc", "show", "dev", "eth0")


async def test_a_class_of_htb_on_the_node_is_seen(bed: Bed) -> None:
    """As ovs-vswitchd creates it. The ceiling counts; a deleted class is not reported."""
    await bed.converge(PLAIN)
    wanted = PLAIN | {HtbQdisc(VETH.key, VETH.host, 5_000_000)}
    assert [step.resource for step in bed.plan(wanted)] == [
        HtbQdisc(VETH.key, VETH.host, 5_000_000)
    ]
    node = bed.node.name
    tc(
        bed,
        "qdisc",
        "add",
        "dev",
        VETH.host,
        "root",
        "handle",
        "1:",
        "htb",
        "default",
        "1",
        netns=node,
    )
    assert len(bed.plan(wanted)) == 1
    kind = ("parent", "1:", "classid", "1:1", "htb", "rate", "12kbit", "ceil")
    tc(bed, "class", "add", "dev", VETH.host, *kind, "5mbit", netns=node)
    assert bed.plan(wanted) == ()
    assert bed.plan(PLAIN) == ()
    assert traffic_control.is_in_force(HtbQdisc(VETH.key, VETH.host, 5_000_000))
    assert not traffic_control.is_in_force(HtbQdisc(VETH.key, VETH.host, 6_000_000))
    tc(bed, "class", "change", "dev", VETH.host, *kind, "6mbit", netns=node)
    (step,) = bed.plan(wanted)
    assert str(step) == f"~ HtbQdisc {VETH.host}: rate 6000000 -> 5000000"


async def test_this_kernel_is_asked_what_it_has_and_nothing_is_made(bed: Bed) -> None:
    lacking = KernelFeatures((HTB, TBF, "no-such-kind")).lacking
    assert lacking == {"no-such-kind"}
    assert "157:" not in tc(bed, "qdisc", "show", "dev", "lo", netns=bed.node.name)


async def test_the_police_action_is_seen_where_this_kernel_has_it(bed: Bed) -> None:
    """As ovs-vswitchd creates it. KernelFeatures agrees with what tc can do on this kernel."""
    await bed.converge(PLAIN)
    node, policer = bed.node.name, PoliceFilter(VETH.key, VETH.host, 5_000_000)
    wanted = PLAIN | {policer}
    assert [step.resource for step in bed.plan(wanted)] == [policer]
    tc(bed, "qdisc", "add", "dev", VETH.host, "ingress", netns=node)

    def police(rate: str, verb: str = "add") -> bool:
        kind = ("dev", VETH.host, "ingress", "prio", "49", "protocol", "all", "basic")
        words = ["filter", verb, *kind, "action", "police", "rate", rate, "burst", "500k", "drop"]
        return (
            subprocess.run(
                ["tc", "-n", node, *words], capture_output=True, timeout=20, check=False
            ).returncode
            == 0
        )

    if not police("5mbit"):
        assert KernelFeatures((POLICE,)).lacking == {POLICE}
        return
    assert KernelFeatures((POLICE,)).lacking == set()
    assert bed.plan(wanted) == bed.plan(PLAIN) == ()
    assert traffic_control.is_in_force(policer)
    tc(bed, "filter", "del", "dev", VETH.host, "ingress", netns=node)
    assert [step.resource for step in bed.plan(wanted)] == [policer]
    assert police("50gbit")
    (step,) = bed.plan(wanted)
    assert str(step) == f"~ PoliceFilter {VETH.host}: rate 50000000000 -> 5000000"
    tc(bed, "qdisc", "del", "dev", VETH.host, "ingress", netns=node)
    assert [step.resource for step in bed.plan(wanted)] == [policer]


async def test_a_pod_without_limits_costs_no_request_more(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = Socket.ask

    def count(self: Socket, *requests: Request) -> list[object]:
        asked.extend(request.kind for request in requests)
        return ask(self, *requests)  # type: ignore[return-value]

    await bed.converge(WANTED)
    monkeypatch.setattr(Socket, "ask", count)
    bed.plan(WANTED)
    assert GETQDISC in asked
    await bed.netlink.apply(bed.attachment, bed.plan(PLAIN))
    asked.clear()
    assert bed.plan(PLAIN) == ()
    assert not {GETQDISC, GETTCLASS, GETTFILTER} & set(asked)


async def test_it_goes_with_its_link(bed: Bed) -> None:
    await bed.converge(WANTED)
    await bed.netlink.apply(bed.attachment, bed.plan(ABSENT))
    assert bed.plan(ABSENT) == ()
