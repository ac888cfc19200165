"""What the guest's tests ask of a pair of pods: rates that arrive, round trips, and what tc and OVS say of them."""

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
    """Mbit/s, and words for how the guest was while it was counted."""

    mbit: float
    meanwhile: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A sandbox with limits, and one without that it talks to."""

    node: GuestNode
    limited: Sandbox
    peer: Sandbox

    @classmethod
    async def make(cls, node: GuestNode, name: str, **limits: str) -> Pair:
        made = await node.make_sandboxes(
            [node.make_limited(name, **limits), node.pod(f"{name}-peer")]
        )
        for sandbox in made:
            await node.add(sandbox)
        return cls(node, *made)

    def ends(self, direction: Direction) -> tuple[Sandbox, Sandbox]:
        """Sender and receiver."""
        return (self.peer, self.limited) if direction == "ingress" else (self.limited, self.peer)

    async def rate(self, direction: Direction, *words: str) -> Rate:
        sender, receiver = self.ends(direction)
        told = await self.node.measure(
            "rate", sender.container_id, receiver.container_id, receiver.pod.v4, *words
        )
        return Rate(
            told["mbit"],
            f"longest stall {told['stall']:.0f} ms, processors {told['idle']:.0%} idle",
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
        print(f"\n{row}  {found.meanwhile}", end="", flush=True)
        return row

    async def rows(self, asked: int, *, asserted: bool = True) -> list[Row]:
        pairs = [
            (direction, protocol)
            for direction in get_args(Direction)
            for protocol in get_args(Protocol)
        ]
        return [await self.row(*pair, asked, asserted=asserted) for pair in pairs]

    async def round_trips(self, count: int = 20) -> list[float]:
        """From the peer, in ms, in order; the first ones, which also asked for an address, are left out."""
        words = ("ping", "-n", "-i0.2", "-W10", f"-c{count + 2}", self.limited.pod.v4)
        told = await self.node.inside(self.peer, *words)
        return sorted(
            float(line.partition("time=")[2].split()[0])
            for line in told.splitlines()
            if "time=" in line
        )[:-2]


async def compared(pair: Pair, rate: int) -> dict[str, float]:
    """TCP's goodput and retransmits from the limited pod, and what is lost of UDP at 1.2 times the rate."""
    ends = (pair.limited.container_id, pair.peer.container_id, pair.peer.pod.v4)
    tcp = await pair.node.measure("told", *ends, "--seconds=6")
    udp = await pair.node.measure("told", *ends, "--seconds=6", f"--udp={rate * 1.2:g}M")
    return {
        **{key: round(value, 2) for key, value in tcp.items()},
        "lost_percent": round(udp["lost_percent"], 2),
    }


def keep(rows: list[Row]) -> None:
    """Into build/qos.json; those that are asserted must hold."""
    record.keep(rows)
    assert all(row.holds for row in rows), [str(row) for row in rows if not row.holds]
