"""Measurements of the guest's tests on a pair of pods: rates that arrive, and round trips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from integration.cni.agent.pods import Sandbox
from integration.kernel.node import GuestNode
from proofs.qos import record, steady
from proofs.qos.measure import Direction, Protocol, Row

LANE = "kernel"


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate, and a text on the guest's state during the measurement."""

    mbit: float
    conditions: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A sandbox with limits, and one without, with which it exchanges traffic."""

    node: GuestNode
    limited: Sandbox
    peer: Sandbox

    @classmethod
    async def make(cls, node: GuestNode, name: str, **limits: str) -> Pair:
        """Create and attach both pods."""
        made = await node.make_sandboxes(
            [node.make_limited(name, **limits), node.pod(f"{name}-peer")]
        )
        for sandbox in made:
            await node.add(sandbox)
        return cls(node, *made)

    def ends(self, direction: Direction) -> tuple[Sandbox, Sandbox]:
        """Return the sender and the receiver for a direction of the limited pod."""
        return (self.peer, self.limited) if direction == "ingress" else (self.limited, self.peer)

    async def rate(self, direction: Direction, *words: str) -> Rate:
        """Measure what arrives, with these options of `proofs.kernel.traffic`."""
        sender, receiver = self.ends(direction)
        found = await self.node.measure(
            "rate", sender.container_id, receiver.container_id, receiver.pod.v4, *words
        )
        return Rate(
            found["mbit"],
            f"longest stall {found['stall']:.0f} ms, processors {found['idle']:.0%} idle",
        )

    async def row(
        self,
        direction: Direction,
        protocol: Protocol,
        asked: int,
        *,
        asserted: bool = True,
        label: str = "",
    ) -> Row:
        """Measure one direction and protocol at a rate in Mbit/s, and print and return its row."""
        words = (
            [f"--udp={asked * 1.5}M"] if protocol == "udp" else [f"--spent={steady.finding(asked)}"]
        )
        found = await self.rate(direction, *words)
        row = Row(
            LANE,
            f"{direction}{label}",
            protocol,
            asked,
            round(found.mbit, 3),
            round(found.mbit / asked, 3),
            asserted,
        )
        print(f"\n{row}  {found.conditions}", end="", flush=True)
        return row

    async def rows(self, asked: int, *, asserted: bool = True) -> list[Row]:
        """Measure both directions with both protocols."""
        pairs = [
            (direction, protocol)
            for direction in get_args(Direction)
            for protocol in get_args(Protocol)
        ]
        return [await self.row(*pair, asked, asserted=asserted) for pair in pairs]

    async def round_trips(self, count: int = 20) -> list[float]:
        """Return round trips from the peer in ms, sorted.

        The two longest are left out: the first ping also resolves the address.
        """
        words = ("ping", "-n", "-i0.2", "-W10", f"-c{count + 2}", self.limited.pod.v4)
        output = await self.node.inside(self.peer, *words)
        return sorted(
            float(line.partition("time=")[2].split()[0])
            for line in output.splitlines()
            if "time=" in line
        )[:-2]


async def compared(pair: Pair, rate: int) -> dict[str, float]:
    """Return TCP's goodput and retransmits from the limited pod, and UDP's loss.

    UDP is offered at 1.2 times the rate.
    """
    ends = (pair.limited.container_id, pair.peer.container_id, pair.peer.pod.v4)
    tcp = await pair.node.measure("iperf", *ends, "--seconds=6")
    udp = await pair.node.measure("iperf", *ends, "--seconds=6", f"--udp={rate * 1.2:g}M")
    return {
        **{key: round(value, 2) for key, value in tcp.items()},
        "lost_percent": round(udp["lost_percent"], 2),
    }


def keep(rows: list[Row]) -> None:
    """Add rows to build/qos.json, and fail if one that is asserted does not hold."""
    record.keep(rows)
    assert all(row.holds for row in rows), [str(row) for row in rows if not row.holds]
