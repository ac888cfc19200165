"""The stages of an attachment, and the timer that measures each."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

Stage = Literal["annotation", "kernel", "ovsdb", "flows"]
# The context is entered when a stage begins and left when it ends.
Clock = Callable[[Stage], AbstractContextManager[None]]


def untimed(_: Stage) -> AbstractContextManager[None]:
    """Return a context that measures nothing."""
    return nullcontext()
