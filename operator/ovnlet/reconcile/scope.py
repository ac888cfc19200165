"""What the loop needs of a family of keys, and of the part of the node where they are kept.

A scope names its keys, says what is desired of one now, and hears each outcome. A host observes and
applies. The loop knows nothing else.
"""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, Protocol

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Identity
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Network
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.outcome import Outcome, Target
from ovnlet.reconcile.status import Status


class Key(NamedTuple):
    """A key of the loop: the scope's name, and the scope's own key."""

    scope: str
    own: Hashable


class Host(Protocol):
    """Where the things of a scope are: looked at and changed, never interpreted."""

    async def ready(self) -> None:
        """Wait a moment for what an observation needs; return at the latest after a few seconds."""
        ...

    async def observe(self, identity: Any, desired: Network) -> Network:
        """Return all that is ours of this identity, and nothing else. Raise NotReady or Taken."""
        ...

    async def apply(self, identity: Any, plan: Plan) -> None:
        """Carry out the steps in their order. Raise NotReady or NodeFault at the first that fails."""
        ...


class Scope(Protocol):
    """A family of keys that the loop keeps."""

    @property
    def host(self) -> Host: ...
    def every_key(self) -> Iterable[Hashable]:
        """Return every key there is now."""
        ...

    def target(self, own: Any, /) -> Target | None:
        """Return what is desired now; None where there is no such key, or its inputs are missing.

        Raise NotReady or Invalid where the inputs are there and of no use.
        """
        ...

    @property
    def status(self) -> Status: ...
    def identity_of(self, own: Any, /) -> Identity:
        """Return what a key stands for."""
        ...

    def wanted(self, own: Any, /) -> Network:
        """Return what ``target`` would desire; change nothing. Raise NotReady or Invalid."""
        ...

    def addresses(self, own: Any, /) -> str:
        """Return the addresses of a key, separated by commas, for people."""
        ...

    def missing_inputs(self, own: Any, /) -> str | None:
        """Say in words what must come before a first pass; None if nothing must."""
        ...

    async def settled(self, own: Any, outcome: Outcome, /) -> None:
        """Take note of an outcome; an error raised here makes the pass a failed one."""
        ...

    def throttled(self, own: Any, reason: Reason, /) -> None:
        """Take note that a hint waits for the budget."""
        ...

    def failed(self, own: Any, error: OvnletError, /, *, awaited: bool) -> None:
        """Take note of a pass that failed; ``awaited`` tells that a caller gets the error too."""
        ...
