"""Every limit on a stock kernel, measured by traffic; rows of lane `kernel` in build/qos.json."""

import json

import pytest

from integration.kernel import limits
from integration.kernel.conftest import EVIDENCE
from integration.kernel.limits import LANE, Pair
from integration.kernel.node import GuestNode
from proofs.qos.measure import FRAME, Row

pytestmark = pytest.mark.whole

# Datagrams of 100 bytes, at a rate that even an emulated machine carries, for 20 s.
OFFERED, LENGTH, SECONDS = "1.6M", "100", 20.0
SIGMAS = 4.5


@pytest.mark.parametrize("asked", [1, 5, 20, 50])
async def test_what_arrives_is_what_was_asked_for(node: GuestNode, asked: int) -> None:
    """HTB to the pod, the shaper and the police action from it; 50 Mbit/s is only printed."""
    pair = await Pair.make(node, f"rate-{asked}", ingress_rate=str(asked), egress_rate=str(asked))
    limits.keep(await pair.rows(asked, asserted=asked <= 20))


@pytest.mark.parametrize("asked", [1, 5, 20])
async def test_the_police_action_holds_alone(node: GuestNode, asked: int) -> None:
    """A pod removes its own shaper while no agent restores it."""
    pair = await Pair.make(node, f"police-{asked}", egress_rate=str(asked))
    node.kill()
    try:
        await node.inside(pair.limited, "tc", "qdisc", "del", "dev", "eth0", "root")
        row = await pair.row("egress", "udp", asked, label=" policed")
        # TCP settles below the policed rate; how far below depends on TCP alone.
        tcp = await pair.row("egress", "tcp", asked, asserted=False, label=" policed")
        limits.keep([row, tcp])
        assert tcp.received_mbit <= asked * 1.1
    finally:
        node.start()


async def test_a_shaped_egress_against_a_policed_one(node: GuestNode) -> None:
    """Measure the figures of docs/decisions/0009 for the kernel datapath.

    Each means is measured alone, with no agent to restore the other. Policed, TCP finds its rate by
    losing packets; shaped, the sender waits, and UDP loses less too.
    """
    pairs = {
        rate: await Pair.make(node, f"means-{rate}", egress_rate=str(rate)) for rate in (5, 20)
    }
    node.kill()
    found: dict[tuple[int, str], dict[str, float]] = {}
    try:
        for rate, pair in pairs.items():
            shaper = await node.inside(pair.limited, "tc", "qdisc", "show", "dev", "eth0", "root")
            assert "tbf 157:" in shaper
            police = "ingress_policing_{}={}"
            both = ("ovs-vsctl", "set", "Interface", pair.limited.link)
            await node.run(*both, police.format("rate", 0), police.format("burst", 0))
            found[rate, "shaped"] = await limits.compared(pair, rate)
            await node.inside(pair.limited, "tc", "qdisc", "del", "dev", "eth0", "root")
            await node.run(
                *both, police.format("rate", rate * 1000), police.format("burst", rate * 800)
            )
            found[rate, "policed"] = await limits.compared(pair, rate)
    finally:
        node.start()
    rows = [{"rate": rate, "means": means, **figures} for (rate, means), figures in found.items()]
    print("", *rows, sep="\n")
    (EVIDENCE / "means.json").write_text(json.dumps(rows, indent=1) + "\n")
    for rate in pairs:
        shaped, policed = found[rate, "shaped"], found[rate, "policed"]
        assert shaped["retransmits"] < policed["retransmits"] / 10
        assert shaped["lost_percent"] < policed["lost_percent"] / 2
        assert shaped["goodput_mbit"] > 0.9 * rate


@pytest.mark.parametrize("damage", ["qdisc del dev {} ingress", "filter del dev {} ingress"])
async def test_a_deleted_filter_comes_back(node: GuestNode, damage: str) -> None:
    """ovs-vswitchd does not notice the deletion; the columns are right all the time."""
    pair = await Pair.make(node, "filtered", egress_rate="5")
    link, rate = pair.limited.link, "rate 5Mbit"
    shown = ["tc", "filter", "show", "dev", link, "ingress"]
    columns = (
        "ovs-vsctl",
        "get",
        "Interface",
        link,
        "ingress_policing_rate",
        "ingress_policing_burst",
    )
    before = await node.run(*columns)
    for _ in range(3):
        assert rate in await node.run(*shown)
        await node.run("tc", *damage.format(link).split())
        await node.until_run(shown, lambda text: rate in text, "the filter")
        await node.until_run(list(columns), lambda text: text == before, "the columns as before")


async def test_latency_and_jitter(node: GuestNode) -> None:
    """Edit the delay of a running pod; compare the shortest round trip with one without it."""
    pair = await Pair.make(node, "late")
    base = (await pair.round_trips())[0]
    for latency, jitter in ((50, 0), (20, 0), (100, 20)):
        node.limit(pair.limited.pod, latency=str(latency), jitter=str(jitter))
        shown = f"delay {latency}ms" + f"  {jitter}ms" * bool(jitter)
        await _until_tc_shows(pair, shown)
        trips = await pair.round_trips(60 if jitter else 20)
        # The shortest round trip counts, since a busy machine only adds to netem's delay. Jitter
        # shortens it by its own size at most.
        least = trips[0] - base
        print(f"latency {latency} jitter {jitter} ms: +{least:.1f} to {trips[-1] - base:.1f} ms")
        if jitter:  # it is uniform: of sixty, some are almost surely in each outer quarter
            assert latency - jitter - 1 <= least < latency - jitter / 2
            assert trips[-1] - base > latency + jitter / 2
        else:
            assert least == pytest.approx(latency, rel=0.1)
    node.limit(pair.limited.pod, latency=None, jitter=None)
    await _until_tc_shows(pair, "netem", there=False)


@pytest.mark.parametrize("share", ["0.5", "5"])
async def test_loss(node: GuestNode, share: str) -> None:
    """The loss is within the counting error; without a limit nothing is lost."""
    pair = await Pair.make(node, f"loss-{share.replace('.', '-')}")
    ends = (pair.peer.container_id, pair.limited.container_id, pair.limited.pod.v4)
    words = ("loss", *ends, f"--udp={OFFERED}", f"--length={LENGTH}", f"--seconds={SECONDS}")
    node.limit(pair.limited.pod, loss=share)
    await _until_tc_shows(pair, f"loss {share}%")
    counted = await node.measure(*words)
    sent, lost, part = counted["left"], counted["left"] - counted["came"], float(share) / 100
    error = SIGMAS * (sent * part * (1 - part)) ** 0.5
    print(f"loss {share} %: {lost} of {sent}, expected {sent * part:.0f} ± {error:.0f}")
    assert sent > 20_000
    assert abs(lost - sent * part) <= error
    node.limit(pair.limited.pod, loss=None)
    await _until_tc_shows(pair, "loss", there=False)
    counted = await node.measure(*words[:-1], "--seconds=3")
    assert counted["left"] - counted["came"] <= 0.001 * counted["left"]


async def test_rate_and_netem_together_survive_an_edit_of_either(node: GuestNode) -> None:
    pair = await Pair.make(node, "both", ingress_rate="5", latency="50")
    for rate, latency in ((5, 50), (20, 50), (20, 30)):
        node.limit(pair.limited.pod, ingress_rate=str(rate), latency=str(latency))
        await _until_tc_shows(pair, f"delay {latency}ms")
        await _until_tc_shows(pair, f"ceil {rate}Mbit", "class")
        trips = await pair.round_trips(10)
        assert trips[0] == pytest.approx(latency, rel=0.1)
        limits.keep([await pair.row("ingress", "udp", rate, label=f" with {latency} ms")])


async def test_a_direction_without_a_limit(node: GuestNode) -> None:
    """Print the rate without a limit, which an emulated processor bounds."""
    pair = await Pair.make(node, "free")
    for direction in ("ingress", "egress"):
        found, offered = await pair.rate(direction, "--udp=50M"), round(50 * FRAME, 2)
        row = Row(
            LANE,
            f"{direction} unlimited",
            "udp",
            offered,
            round(found.mbit, 2),
            round(found.mbit / offered, 3),
            False,
        )
        print(f"\n{row}  {found.conditions}")
        limits.keep([row])


async def _until_tc_shows(
    pair: Pair, text: str, kind: str = "qdisc", *, there: bool = True
) -> None:
    """Wait until tc shows the text at the node's end of the link, or no longer does."""
    shown = ["tc", kind, "show", "dev", pair.limited.link]
    await pair.node.until_run(
        shown, lambda out: (text in out) is there, f"{text!r} {'in' if there else 'gone from'} tc"
    )
