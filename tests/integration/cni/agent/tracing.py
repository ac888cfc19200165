"""An agent that records the walk of an annotation edit: run it like `ovnlet`.

The walk begins with kopf's handler of a watch event. A context variable follows it over threads,
callbacks and tasks, since asyncio copies the context wherever one schedules another. What the agent
does at the same time for other reasons has no such variable, and is not recorded.

OVNLET_TRACE is the file that gets one JSON line for each function of the product that a walk calls:
the chain of calls from kopf's handler to it, each as [file, function].
"""

import json
import os
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

import ovnlet
from ovnlet.__main__ import main

ROOT = f"{Path(ovnlet.__file__).parent}{os.sep}"
OUTPUT = Path(os.environ["OVNLET_TRACE"])
Walk = tuple[tuple[str, str], ...]
# The frames that scheduled what runs now; None where no edit is the reason.
walk: ContextVar[Walk | None] = ContextVar("walk", default=None)
SCHEDULING = {"call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_task"}
SCHEDULING |= {"to_thread"}
seen: set[Walk] = set()


class Scheduling(threading.local):
    """The call by which this thread schedules something now, and the walk from before it."""

    frame: FrameType | None = None
    before: Walk = ()


scheduling = Scheduling()


def frames(frame: FrameType | None) -> Walk:
    """Return the product's frames of a stack, the outermost first.

    What started the event loop is below its callbacks, and no part of any walk.
    """
    found: list[tuple[str, str]] = []
    while frame is not None and frame.f_code.co_name != "_run_once":
        if frame.f_code.co_filename.startswith(ROOT):
            found.append((frame.f_code.co_filename.removeprefix(ROOT), frame.f_code.co_qualname))
        frame = frame.f_back
    return tuple(reversed(found))


def profile(frame: FrameType, event: str, _: object) -> None:
    """Follow the walk at each call and return of a Python function."""
    code = frame.f_code
    if event == "return" and frame is scheduling.frame:
        walk.set(scheduling.before)
        scheduling.frame = None
    if event != "call":
        return
    if code.co_name == "on_event" and code.co_filename.endswith("kopf_handlers.py"):
        walk.set(())
        seen.clear()
    if (before := walk.get()) is None:
        return
    if code.co_filename.startswith(ROOT):
        record((*before, *frames(frame)))
    elif code.co_name in SCHEDULING and "asyncio" in code.co_filename and not scheduling.frame:
        scheduling.frame, scheduling.before = frame, before
        walk.set((*before, *frames(frame)))


def record(chain: Walk) -> None:
    """Write a chain of calls, once for each walk."""
    if chain not in seen:
        seen.add(chain)
        with OUTPUT.open("a") as file:
            file.write(json.dumps(chain) + "\n")


if __name__ == "__main__":
    threading.setprofile(profile)
    sys.setprofile(profile)
    main(prog_name="ovnlet")
