"""What no load of the machine disturbs: turns of the event loop, writes, transactions."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from proofs.bench.environment import COUNTED, Environment, provisioned
from proofs.bench.implementations import AGENT, Implementation, all_implementations
from proofs.bench.measures import Measure, median
from testbed import progress

PORTS, ADDS, BURST, BURSTS = 100, 20, 100, 3


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Count on a bed of its own. Return the rows."""
    COUNTED.unlink(missing_ok=True)
    with provisioned(name, PORTS + BURST, seed, python=[sys.executable, "-m", "kit.turns"]) as env:
        agent = all_implementations(plugin, plugin)[AGENT]
        with progress.step(f"{PORTS} ports"):
            for start in range(0, PORTS, 50):
                env.run(agent.add([(pod, env.sandbox()) for pod in env.pods[start : start + 50]]))
        with progress.step(f"{ADDS} ADDs alone, {BURSTS} bursts of {BURST}"):
            alone = [_added(env, agent, 1)[0] for _ in range(ADDS)]
            bursts = [_added(env, agent, BURST) for _ in range(BURSTS)]
    return [
        Measure(
            "counted: turns of the event loop per ADD alone, median",
            median(each["turns"] for each in alone),
            "turns",
            10,
        ),
        Measure(
            "counted: writes of records per ADD",
            median(each["writes"] for each in alone),
            "writes",
            1,
        ),
        Measure(
            f"counted: transactions of a burst of {BURST} ADDs, median",
            median(
                max(each["transactions"] for each in burst) - min(each["before"] for each in burst)
                for burst in bursts
            ),
            "transactions",
            20,
        ),
    ]


def _added(env: Environment, agent: Implementation, many: int) -> list[dict[str, int]]:
    """Attach and detach so many pods; return what the agent has counted for each ADD."""
    known = len(COUNTED.read_text().splitlines())
    chosen = [(pod, env.sandbox()) for pod in env.pods[PORTS : PORTS + many]]
    env.run(agent.add(chosen))
    found = [json.loads(line) for line in COUNTED.read_text().splitlines()[known:]]
    env.run(agent.delete(chosen))
    return found
