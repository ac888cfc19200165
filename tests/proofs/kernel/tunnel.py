"""`python -m proofs.kernel.tunnel`: pods of two nodes, one of them a virtual machine, over Geneve.

The virtual machine has the kernel's datapath, the other node is in the bed's namespaces and has the
datapath in userspace. Pings, pings of full size and TCP go both ways in both families, also after
a repair at either end. The control is the link between them down. The rows go to build/tunnel.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kit.report import markdown_table, write_page, write_rows
from proofs.drift.carrying import heed_signals
from proofs.drift.environment import EVIDENCE
from proofs.drift.exec_client import ExecClient
from proofs.drift.observe import Target
from proofs.kernel import stage
from proofs.kernel.stage import PATIENCE, KernelEnvironment
from testbed import layout, progress, switch
from testbed.bed import Bed
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster

NAME, HOME = "tunnel", EVIDENCE / "tunnel"
COUNT, EVERY = 50, 0.1
MTU = 1400  # of pods: QEMU's user mode loses frames of 1500 bytes, which 1442 would need
FULL = {4: MTU - 28, 6: MTU - 48}  # less the headers of IP and ICMP
MEGABYTES, PORT = 2, "5201"
FORWARDS_SECONDS = 120.0
_RECEIVED = re.compile(r"(\d+) packets transmitted, (\d+) received")


@dataclass(frozen=True, slots=True)
class Row:
    """What one pod sent to one of the other node. ``after`` is what had happened before."""

    after: str
    sender: str
    receiver: str
    family: int
    what: str
    sent: int
    lost: int
    ok: bool


@dataclass(frozen=True, slots=True)
class End:
    """A pod with the environment of its node, and what kind of node that is."""

    env: KernelEnvironment
    target: Target
    kind: str

    def run(self, *words: str, timeout: float = 120) -> str:
        """Run a program in the pod, and return its output whether it succeeds or not."""
        inside = ["nsenter", f"--net={self.target.netns}", *words]
        return self.env.bed.node().run(inside, timeout=timeout, check=False)


def main() -> int:
    """Carry out all of it and write the report. Return 0 if every row is good, else 1."""
    parser = argparse.ArgumentParser(prog="proofs.kernel.tunnel", description=__doc__)
    parser.add_argument("--bed", help="name of the test bed")
    args = parser.parse_args()
    heed_signals()
    rows: list[Row] = []
    try:
        with _pair(args.bed) as ends:
            rows += _flows("nothing", ends)
            for end in ends:
                rows += _repaired(end, ends)
            rows += _cut(ends)
    except (BedError, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}"[:2000])
        rows.append(Row("stopped", "", "", 0, str(error)[:200], 0, 0, ok=False))
    write_rows(NAME, rows)
    columns = list(Row.__slots__)
    lines = [[str(getattr(row, name)) for name in columns] for row in rows]
    write_page(NAME, page := markdown_table(columns, lines))
    print(page)
    return 0 if rows and all(row.ok for row in rows) else 1


@contextmanager
def _pair(name: str | None) -> Iterator[tuple[End, End]]:
    """Run both nodes, each with an agent and a pod."""
    with stage.booted(name, nodes=2) as (bed, boot):
        other = replace(bed, nodes=[bed.nodes[1]])
        assert bed.control
        other.node().start_switch(tunnel=True)
        switch.start_controller(other.node(), bed.control)
        patience = PATIENCE[boot.accelerator]
        inside = _environment(bed, HOME / "guest", 0, boot=boot, patience=patience)
        outside = _environment(other, HOME / "namespace", 1, datapath="netdev")
        outside.numbers = inside.numbers
        try:
            ends = [_end(inside, "kernel"), _end(outside, "userspace")]
            _wait_forwarding(ends[0], ends[1])
            yield ends[0], ends[1]
        finally:
            for env in (inside, outside):
                stage.keep_logs(env)
                env.exec_agent.close()


def _environment(bed: Bed, evidence: Path, index: int, **facts: object) -> KernelEnvironment:
    client = ExecClient.start(bed, evidence)
    tunnel = layout.tunnel_ip(index)
    return KernelEnvironment(bed, client, Cluster(bed), evidence, encap_ip=tunnel, mtu=MTU, **facts)  # type: ignore[arg-type]


def _end(env: KernelEnvironment, kind: str) -> End:
    env.start_agent()
    env.attach([f"on{env.bed.node().role}1"])
    return End(env, env.targets[0], kind)


def _wait_forwarding(one: End, other: End) -> None:
    for address in other.target.ips:
        wait_for(
            lambda address=address: _ping(one, address, "-c1", "-W2")[1],  # type: ignore[misc]
            f"{one.target.pod} reaches {address}",
            FORWARDS_SECONDS,
        )


def _ping(sender: End, address: str, *words: str) -> tuple[int, int]:
    """Return how many packets were sent and how many answers came."""
    found = _RECEIVED.search(sender.run("ping", "-n", *words, address))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _flows(after: str, ends: tuple[End, End]) -> Iterator[Row]:
    for sender, receiver in (ends, ends[::-1]):
        for family, address in zip((4, 6), receiver.target.ips, strict=True):
            yield _pings(after, sender, receiver, family)
            yield _pings(after, sender, receiver, family, full=True)
            yield _tcp(after, sender, receiver, family, address)


def _pings(after: str, sender: End, receiver: End, family: int, *, full: bool = False) -> Row:
    address = receiver.target.ips[family == 6]
    words = ["-c", str(COUNT), "-i", str(EVERY), "-W2"]
    words += ["-M", "do", "-s", str(FULL[family])] if full else []
    sent, came = _ping(sender, address, *words)
    what = f"pings of {MTU} bytes" if full else "pings"
    good = sent == COUNT and came == sent
    return _say(Row(after, sender.kind, receiver.kind, family, what, sent, sent - came, good))


def _tcp(after: str, sender: End, receiver: End, family: int, address: str) -> Row:
    """Send some megabytes, and compare what the receiver got with them; retransmits count too."""
    words = ["iperf3", "-s", "-1", "-p", PORT]
    node = receiver.env.bed.node()
    inside = ["nsenter", f"--net={receiver.target.netns}"]
    server = node.spawn("iperf3", [*inside, *words])
    listening = ["ss", "-Hltn", "sport", "=", f":{PORT}"]
    wait_for(lambda: receiver.run(*listening).strip(), "iperf3 to listen", 60)
    client = ["iperf3", "-c", address, "-p", PORT, "-J", "-n", f"{MEGABYTES}M"]
    try:
        end = json.loads(sender.run(*client, timeout=120))["end"]
        sent, came = (int(end[key]["bytes"]) for key in ("sum_sent", "sum_received"))
    except (ValueError, LookupError):
        sent, came = MEGABYTES << 20, 0
    finally:
        if server.alive:
            server.stop()
    good = came == sent >= MEGABYTES << 20
    return _say(
        Row(after, sender.kind, receiver.kind, family, "bytes by TCP", sent, sent - came, good)
    )


def _repaired(end: End, ends: tuple[End, End]) -> Iterator[Row]:
    """Remove the pod's port at one end; after its repair everything goes as before."""
    (other,) = (each for each in ends if each is not end)
    end.env.tools([["ovs-vsctl", "del-port", "br-int", end.target.port]])
    _wait_forwarding(other, end)
    for family in (4, 6):
        yield _pings(f"repair in {end.kind}", other, end, family)


def _cut(ends: tuple[End, End]) -> Iterator[Row]:
    """Take the link between the nodes down: nothing may arrive; and up again: everything does."""
    bed = ends[0].env.bed
    assert bed.control
    for state, through in (("down", False), ("up", True)):
        bed.control.run(["ip", "link", "set", "t0", state])
        if through:
            _wait_forwarding(*ends)
        for family in (4, 6):
            row = _pings(f"link {state}", ends[0], ends[1], family)
            yield row if through else replace(row, ok=bool(row.sent) and row.lost == row.sent)


def _say(row: Row) -> Row:
    progress.say(
        f"    after {row.after}: {row.sender} to {row.receiver}, IPv{row.family}, {row.what}:"
        f" {row.lost} of {row.sent} lost"
    )
    return row


if __name__ == "__main__":
    sys.exit(main())
