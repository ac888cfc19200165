"""Count the turns of an event loop, and run an agent that counts them for each ADD.

`python -m kit.turns agent …` runs like `ovnlet`. OVNLET_TURNS is the file that gets one line of
JSON for each ADD: how many turns it took, from the one that read its body to the one that wrote its
answer, how many times a record was written meanwhile, and how many transactions the agent had sent
before it and at its end.
"""

import json
import os
from asyncio import base_events
from collections.abc import Callable
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

OUTPUT = "OVNLET_TURNS"


class Turns:
    """How often the event loop of the main thread has turned since this was made."""

    def __init__(self) -> None:
        """Begin to count, until ``stop``."""
        self.count = 0
        loops: Any = base_events.BaseEventLoop
        self._original = loops._run_once

        def turn(loop: Any) -> None:
            self.count += current_thread() is main_thread()  # kopf has a loop in its own thread
            self._original(loop)

        loops._run_once = turn

    def stop(self) -> None:
        """Count no more."""
        loops: Any = base_events.BaseEventLoop
        loops._run_once = self._original


def _count_adds(turns: Turns, output: Path) -> None:
    """Have each ADD of this process append its line to the output."""
    from ovnlet.drivers.ovsdb.replica import Replica  # noqa: PLC0415 - only in the agent
    from ovnlet.drivers.store import atomic  # noqa: PLC0415
    from ovnlet_cni.dispatch import Dispatch  # noqa: PLC0415
    from ovnlet_cni.request import Attach  # noqa: PLC0415

    answer: Callable[..., Any] = Dispatch.answer
    write, begin = atomic.write, Replica.begin
    counts = {"writes": 0, "transactions": 0}

    def counted_write(path: Path, text: str) -> None:
        counts["writes"] += 1
        write(path, text)

    def counted_begin(self: Replica, *words: Any) -> None:
        counts["transactions"] += 1
        begin(self, *words)

    async def counted_answer(self: Dispatch, call: Any) -> bytes:
        first, before = turns.count, dict(counts)
        answered: bytes = await answer(self, call)
        if isinstance(call, Attach):
            found = {
                "turns": turns.count - first + 1,
                "writes": counts["writes"] - before["writes"],
                "before": before["transactions"],
                "transactions": counts["transactions"],
            }
            with output.open("a") as file:
                file.write(json.dumps(found) + "\n")
        return answered

    atomic.write = counted_write
    Replica.begin = counted_begin  # type: ignore[method-assign, assignment]
    Dispatch.answer = counted_answer  # type: ignore[method-assign]


def run() -> None:
    """Run `ovnlet` with the arguments of this process."""
    from ovnlet.__main__ import main  # noqa: PLC0415

    _count_adds(Turns(), Path(os.environ[OUTPUT]))
    main(prog_name="ovnlet")


if __name__ == "__main__":
    run()
