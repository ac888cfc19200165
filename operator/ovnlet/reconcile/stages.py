"""The stages of an attachment, and the timer that measures each."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

# The wait for `routed` alone is a part of that for annotations.
Stage = Literal["annotation", "routed", "kernel", "ovsdb", "flows"]
# The context is entered when a stage begins and left when it ends.
Clock = Callable[[Stage], AbstractContextManager[object]]


def untimed(_: Stage) -> AbstractContextManager[None]:
    """Return a context that measures nothing."""
    return nullcontext()
