"""Limits by annotation on a whole node: measured at the receiver, edited, damaged and repaired."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from proofs.qos import measure
from proofs.qos.measure import ceiling, shaper
from testbed import deploy
from testbed.service import wait_for
from testbed.workloads import OVN, Cluster, Running, pod

RATES = (1, 5, 20)
SOON = 5.0


def test_what_arrives_is_what_was_asked_for(cluster: Cluster) -> None:
    """Traffic is limited from the first packet: tc shows it as soon as kubelet reports the pod."""
    pairs = measure.pairs(cluster, RATES)
    for rate, pair in pairs.items():
        assert (ceiling(pair.limited), shaper(pair.limited)) == (f"{rate}Mbit", f"{rate}Mbit")
        assert (ceiling(pair.peer), shaper(pair.peer)) == ("", "")
    rows = measure.table(pairs, asserted=RATES, together=True)
    print("", *rows, sep="\n")
    assert len(rows) == 12
    # A pod's egress rate is enforced in the pod, so there is no Event, even if the kernel does not
    # police.
    events = [event for rate in RATES for event in cluster.events(f"limited-{rate}")]
    assert not [event for event in events if event["reason"] == "RateNotEnforced"]
    assert all(row.holds for row in rows), [str(row) for row in rows if not row.holds]


def test_edits_are_in_force_soon_and_no_connection_feels_more_than_the_rate(
    cluster: Cluster,
) -> None:
    cluster.apply(pod("edited", **{f"{OVN}/ingress_rate": "20"}), pod("peer"))
    edited, peer = cluster.running(2)
    delays = []
    with measure.flow(peer, edited) as flow:
        for number in range(50):
            rate = 10 + number % 7
            cluster.annotate("edited", ingress_rate=str(rate))
            began = time.monotonic()
            wait_for(partial(_is, edited, f"{rate}Mbit"), "the rate", timeout=SOON, every=0.005)
            delays.append(1000 * (time.monotonic() - began))
        assert flow.running, "the connection was lost"
        assert flow.rate(0, 2) == pytest.approx(rate, rel=0.15)
        cluster.bed.kubectl("annotate", "pod", "edited", f"{OVN}/ingress_rate-")
        wait_for(lambda: not ceiling(edited), "the removal", timeout=SOON)
        wait_for(lambda: flow.rate(0, 0.5) > 50, "TCP to use what it may", timeout=20)
        assert flow.running, "the connection was lost"
    print(
        f"in force {statistics.median(delays):.0f} ms after kubectl returned (p50 of 50), "
        f"at most {max(delays):.0f}"
    )
    assert statistics.median(delays) <= 500
    mark = f"external_ids:ovnlet={edited.container_id}/eth0"
    assert not any(
        edited.space.run(["ovs-vsctl", "find", table, mark]).strip() for table in ("QoS", "Queue")
    )


def _is(each: Running, rate: str) -> bool:
    return ceiling(each) == rate


def _delete_qdisc(each: Running) -> None:
    each.space.run(["tc", "qdisc", "del", "dev", each.port, "root"])


def _change_class(each: Running) -> None:
    each.space.run(
        [
            "tc",
            "class",
            "change",
            "dev",
            each.port,
            "classid",
            "1:1",
            "htb",
            "rate",
            "1gbit",
            "ceil",
            "1gbit",
        ]
    )


def _delete_rows(each: Running) -> None:
    rows = "$(ovs-vsctl --bare --columns=_uuid find {} external_ids:ovnlet={}/eth0)"
    queue, qos = (rows.format(table, each.container_id) for table in ("Queue", "QoS"))
    each.space.sh(
        f"ovs-vsctl clear Port {each.port} qos -- destroy QoS {qos} -- destroy Queue {queue}"
    )


def _change_queue(each: Running) -> None:
    find = f"--columns=_uuid find Queue external_ids:ovnlet={each.container_id}/eth0"
    each.space.sh(f"ovs-vsctl set Queue $(ovs-vsctl --bare {find}) other_config:max-rate=77000000")


def _unbind(each: Running) -> None:
    each.space.run(["ovs-vsctl", "clear", "Port", each.port, "qos"])


def _delete_shaper(each: Running) -> None:
    each.inside("tc", "qdisc", "del", "dev", "eth0", "root")


def _delete_port(each: Running) -> None:
    each.space.run(["ovs-vsctl", "del-port", each.port])


DAMAGES: tuple[Callable[[Running], None], ...] = (
    _delete_qdisc,
    _change_class,
    _delete_rows,
    _change_queue,
    _unbind,
    _delete_shaper,
    _delete_port,
)


def test_damage_is_repaired(cluster: Cluster) -> None:
    cluster.apply(pod("single", **{f"{OVN}/ingress_rate": "5", f"{OVN}/egress_rate": "5"}))
    (single,) = cluster.running(1)
    rows = "for t in QoS Queue; do ovs-vsctl --bare --columns=_uuid list $t; done"

    def whole() -> bool:
        counted = len(single.space.sh(rows).split())
        return (ceiling(single), shaper(single), counted) == ("5Mbit", "5Mbit", 2)

    for damage in DAMAGES:
        wait_for(whole, "limits", timeout=SOON)
        damage(single)
        began = time.monotonic()
        wait_for(whole, "the repair", timeout=SOON, every=0.005)
        print(f"{damage.__name__}: in force again {1000 * (time.monotonic() - began):.0f} ms later")


def _place(cluster: Cluster, selector: str | None) -> None:
    """Restrict where the DaemonSet may run, or with None allow every node."""
    change = json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"nowhere": selector}}}}})
    cluster.bed.kubectl(
        "-n", deploy.NAMESPACE, "patch", deploy.DAEMONSET, "--type=merge", "-p", change
    )


@contextmanager
def _no_agent(cluster: Cluster) -> Iterator[None]:
    """Remove the agent from the node while the body runs."""
    _place(cluster, "true")
    try:
        deploy.dismissed(cluster.bed)
        yield
    finally:
        _place(cluster, None)


def test_edits_made_while_the_agent_was_down_are_applied_at_its_start(cluster: Cluster) -> None:
    """A rate changes, one is removed, and one is added to a pod that had none."""
    cluster.apply(
        pod("was", **{f"{OVN}/ingress_rate": "20", f"{OVN}/egress_rate": "20"}), pod("bare")
    )
    bare, was = cluster.running(2)
    with _no_agent(cluster):
        cluster.annotate("was", ingress_rate="7")
        cluster.bed.kubectl("annotate", "pod", "was", f"{OVN}/egress_rate-")
        cluster.annotate("bare", egress_rate="3")
        time.sleep(1)
        assert [(ceiling(each), shaper(each)) for each in (was, bare)] == [
            ("20Mbit", "20Mbit"),
            ("", ""),
        ]

    def applied() -> bool:
        return [(ceiling(each), shaper(each)) for each in (was, bare)] == [
            ("7Mbit", ""),
            ("", "3Mbit"),
        ]

    wait_for(applied, "the edits", timeout=60, every=0.05)
    row = was.space.run(["ovs-vsctl", "get", "Interface", was.port, "ingress_policing_rate"])
    assert row.strip() == "0"


def test_a_wrong_rate_gets_an_event_and_the_last_good_one_stays(cluster: Cluster) -> None:
    """ADD does not wait for a valid rate either."""
    cluster.apply(
        pod(
            "typo",
            **{f"{OVN}/ingress_rate": "5Mbit", f"{OVN}/egress_rate": "5", f"{OVN}/loss": "0.5"},
        )
    )
    (typo,) = cluster.running(1)

    def messages(reason: str) -> str:
        found = [event["message"] for event in cluster.events("typo") if event["reason"] == reason]
        return wait_for(lambda: " | ".join(found) or None, reason, timeout=SOON) if found else ""

    assert f"{OVN}/ingress_rate is '5Mbit'" in wait_for(
        lambda: messages("InvalidAnnotation"), "the Event", timeout=SOON
    )
    assert (ceiling(typo), shaper(typo)) == ("10Gbit", "5Mbit")
    cluster.annotate("typo", egress_rate="-1")
    wait_for(
        lambda: f"{OVN}/egress_rate is '-1'" in messages("InvalidAnnotation"),
        "the Event",
        timeout=SOON,
    )
    assert shaper(typo) == "5Mbit"
    if "netem" not in typo.space.run(["tc", "qdisc", "show", "dev", typo.port]):
        lacking = wait_for(lambda: messages("RateNotEnforced"), "the Event", timeout=SOON)
        assert "no sch_netem" in lacking


def test_a_direction_without_a_limit_is_untouched(cluster: Cluster) -> None:
    """Send 50 Mbit/s of UDP to a pod with an egress limit, from one with an ingress limit."""
    cluster.apply(
        pod("in", **{f"{OVN}/ingress_rate": "5"}), pod("out", **{f"{OVN}/egress_rate": "5"})
    )
    ingress, egress = cluster.running(2)
    for _ in range(3):  # a busy machine loses some packets, a limit nine of ten
        sent, arrived = measure.carried(ingress, egress, 3)
        print(f"{arrived * 8 / 3e6:.1f} of {sent * 8 / 3e6:.1f} Mbit/s arrive")
        if arrived >= 0.75 * sent and sent * 8 / 3 > 25e6:
            return
    pytest.fail(f"{arrived} of {sent} bytes arrive")
