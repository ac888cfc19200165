"""The base of scopes that have one key and report on the Node."""

from typing import Generic, TypeVar

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Identity
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.status import Status

I = TypeVar("I", bound=Identity)  # noqa: E741 - the identity


class NodeWideScope(Generic[I]):
    """A scope with one key, the name of its identity."""

    def __init__(self, identity: I, status: Status) -> None:
        self.identity, self.status = identity, status

    @property
    def only(self) -> str:
        """The one key."""
        return self.identity.key[1]

    def identity_of(self, _: str, /) -> I:
        """Return what the key stands for."""
        return self.identity

    def addresses(self, _: str, /) -> str:
        """Return the addresses, separated by commas; empty unless overridden."""
        return ""

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Report the outcome."""
        self.status.settled(own, outcome)

    def failed(self, _: str, error: OvnletError, /, *, awaited: bool) -> None:
        """Report a failed pass that no caller waits for."""
        if not awaited:
            self.status.failed(self.identity, error)

    def throttled(self, own: str, reason: Reason, /) -> None:
        """Report that hints wait for the budget."""
        self.status.throttled(own, self.identity, reason)
