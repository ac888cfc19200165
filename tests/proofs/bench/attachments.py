"""ADDs of a pod's third interface against those of its first, on a node of such pods."""

from __future__ import annotations

from pathlib import Path

from proofs.bench.deletion import Deletion
from proofs.bench.environment import Environment, provisioned
from proofs.bench.measures import Measure, median
from proofs.bench.pods import Pod
from testbed import progress

STANDING = 30  # pods with three interfaces each, which stay
PAIRS, WARM_UP = 20, 3
FIRST, THIRD = "first", "third"
MOST = 1.1


class Attachments:
    """Attaches pods with three interfaces each, one interface at a time."""

    def __init__(self, env: Environment, plugin: Path) -> None:
        self._env = env
        deletion = Deletion(env, plugin)
        deletion.prepare(env.pods)
        self._interfaces = deletion.interfaces
        self.times: dict[str, list[float]] = {FIRST: [], THIRD: []}

    def stand(self) -> None:
        """Attach the pods that stay."""
        chosen = [(pod, self._sandbox()) for pod in self._env.pods[:STANDING]]
        for each in self._interfaces:
            self._env.run(each.add(chosen))

    def pair(self, *, counts: bool) -> None:
        """Time one ADD of each kind, in random order, each of a pod of its own."""
        pods = self._env.random.sample(self._env.pods[STANDING:], 2)
        for which, pod in zip(self._env.random.sample([FIRST, THIRD], 2), pods, strict=True):
            milliseconds = self._timed(pod)[which]
            if counts:
                self.times[which].append(milliseconds)

    def _sandbox(self) -> str:
        """Return a container ID that differs in its first eight characters: `net1` has no more."""
        return f"{next(self._env.sandboxes):08x}".ljust(64, "0")

    def _timed(self, pod: Pod) -> dict[str, float]:
        """Attach all three and detach them. Return the times of the first and the third ADD."""
        chosen = [(pod, self._sandbox())]
        took = [self._env.run(each.add(chosen)).done[0].ms for each in self._interfaces]
        for each in reversed(self._interfaces):
            self._env.run(each.delete(chosen))
        return {FIRST: took[0], THIRD: took[-1]}


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure on a bed of its own. Return the rows."""
    with provisioned(name, STANDING + 10, seed) as env:
        attachments = Attachments(env, plugin)
        with progress.step(f"{STANDING} pods with three interfaces"):
            attachments.stand()
        with progress.step(f"{PAIRS} pairs of ADDs") as step:
            for number in range(-WARM_UP, PAIRS):
                step.note(str(number))
                attachments.pair(counts=number >= 0)
    first, third = (median(attachments.times[which]) for which in (FIRST, THIRD))
    return [
        Measure(f"attachments: ADD of the {FIRST}, median", round(first, 2), "ms", None),
        Measure(f"attachments: ADD of the {THIRD}, median", round(third, 2), "ms", None),
        Measure(
            f"attachments: ADD of the {THIRD} divided by that of the {FIRST}",
            round(third / first, 3),
            "",
            MOST,
        ),
    ]
