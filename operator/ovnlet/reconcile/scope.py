"""What the loop needs of a family of keys, and of the part of the node that they concern.

A scope lists its keys, returns what is desired of one now, and gets each outcome. A host observes
and applies. The loop knows nothing else.
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
    """The drivers of a scope: they observe and change, and never interpret."""

    async def ready(self) -> None:
        """Wait for what an observation needs, a few seconds at most. Return also without it."""
        ...

    async def observe(self, identity: Any, desired: Network) -> Network:
        """Return all that is ours of this identity, and nothing else. Raise NotReady or Taken."""
        ...

    async def apply(self, identity: Any, plan: Plan) -> None:
        """Carry out the steps in order. Raise NotReady or NodeFault at the first that fails."""
        ...


class Scope(Protocol):
    """A family of keys that the loop keeps."""

    @property
    def host(self) -> Host:
        """The drivers of this scope."""
        ...

    def every_key(self) -> Iterable[Hashable]:
        """Return every key there is now."""
        ...

    def target(self, own: Any, /) -> Target | None:
        """Return what is desired now; None where there is no such key, or its inputs are missing.

        Raise NotReady or Invalid where the inputs are there and of no use.
        """
        ...

    @property
    def status(self) -> Status:
        """The last outcomes of this scope."""
        ...

    def identity_of(self, own: Any, /) -> Identity:
        """Return what a key stands for."""
        ...

    def wanted(self, own: Any, /) -> Network:
        """Return what ``target`` would desire; change nothing. Raise NotReady or Invalid."""
        ...

    def addresses(self, own: Any, /) -> str:
        """Return the addresses of a key for display, separated by commas."""
        ...

    def missing_inputs(self, own: Any, /) -> str | None:
        """Return in words what a first pass waits for; None if it waits for nothing."""
        ...

    async def settled(self, own: Any, outcome: Outcome, /) -> None:
        """Take an outcome. An error raised here makes the pass a failed one."""
        ...

    def throttled(self, own: Any, reason: Reason, /) -> None:
        """Report that a hint waits for the budget."""
        ...

    def failed(self, own: Any, error: OvnletError, /, *, awaited: bool) -> None:
        """Report a failed pass; ``awaited`` means that a caller gets the error too."""
        ...
