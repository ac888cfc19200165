"""What the guest's tests ask of a pair of pods: rates that arrive, round trips, and what tc and OVS say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from cni.agent.pods import Sandbox
from kernel.node import GuestNode
from qos import record
from qos.measure import TOLERANCE, Direction, Protocol, Row

LANE, TRIES = "kernel", 8


@dataclass(frozen=True, slots=True)
class Pair:
    """A sandbox with limits, and one without that it talks to."""

    node: GuestNode
    limited: Sandbox
    peer: Sandbox

    @classmethod
    async def make(cls, node: GuestNode, name: str, **limits: str) -> Pair:
        made = await node.make_sandboxes([node.make_limited(name, **limits), node.pod(f"{name}-peer")])
        for sandbox in made:
            await node.add(sandbox)
        return cls(node, *made)

    def ends(self, direction: Direction) -> tuple[Sandbox, Sandbox]:
        """Sender and receiver."""
        return (self.peer, self.limited) if direction == "ingress" else (self.limited, self.peer)

    async def mbit(self, direction: Direction, *words: str) -> float:
        sender, receiver = self.ends(direction)
        told = await self.node.measure("rate", sender.container_id, receiver.container_id, receiver.pod.v4, *words)
        return float(told["mbit"])

    async def row(
        self, direction: Direction, protocol: Protocol, asked: int, *, asserted: bool = True, label: str = ""
    ) -> Row:
        """A stall of an emulated machine may cost a measurement, but it cannot let more through: only less is tried
        again."""
        words = [f"--udp={asked * 1.5}M"] if protocol == "udp" else []
        mbit = 0.0
        for _ in range(TRIES):
            mbit = max(mbit, await self.mbit(direction, *words))
            if mbit >= asked * (1 - TOLERANCE):
                break
        label = f"{direction}{label}"
        return Row(LANE, label, protocol, asked, round(mbit, 3), round(mbit / asked, 3), asserted)

    async def rows(self, asked: int, *, asserted: bool = True) -> list[Row]:
        pairs = [(direction, protocol) for direction in get_args(Direction) for protocol in get_args(Protocol)]
        return [await self.row(*pair, asked, asserted=asserted) for pair in pairs]

    async def round_trips(self, count: int = 20) -> list[float]:
        """From the peer, in ms, in order; the first ones, which also asked for an address, are left out."""
        words = ("ping", "-n", "-i0.2", "-W10", f"-c{count + 2}", self.limited.pod.v4)
        told = await self.node.inside(self.peer, *words)
        return sorted(float(line.partition("time=")[2].split()[0]) for line in told.splitlines() if "time=" in line)[
            :-2
        ]


def keep(rows: list[Row]) -> None:
    """Into build/qos.json, and shown; those that are asserted must hold."""
    record.keep(rows)
    print("", *rows, sep="\n")
    assert all(row.holds for row in rows), [str(row) for row in rows if not row.holds]
