"""What one pass is asked to do, and what it ended with."""

from dataclasses import dataclass

from ovnlet.core.errors import Invalid
from ovnlet.core.identity import Identity
from ovnlet.core.plan import Plan, Step
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair


@dataclass(frozen=True, slots=True)
class Notice:
    """A fact that no pass can repair and a user should know; ``reason`` is the Event's."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a scope wants of one key now.

    ``repair`` is the setting for drift. ``edited`` means that new input asked for this network,
    ``first`` that there was none before. ``problems`` are values that were not used. ``final``
    means that the key is to be forgotten once nothing of it is left. ``leaving`` means that it will
    be removed soon: what costs the whole node something is neither repaired nor reported.
    """

    identity: Identity
    desired: Network
    repair: Repair = "fix"
    edited: bool = False
    first: bool = False
    final: bool = False
    leaving: bool = False
    problems: tuple[Invalid, ...] = ()
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass ended with.

    ``steps`` were applied. ``hinted`` means that a notification of the node asked for the pass.
    ``forced`` means that a call or an edit asked for it: it acts whatever the settings say of
    drift, and in an ADD ovs-vswitchd may undo a link flag that it did not see being set.
    ``remaining`` are the steps that are not to be applied, and ``why_remaining`` says why.
    ``seconds`` run from the first observation to the last.
    """

    identity: Identity
    desired: Network
    observed: Network
    steps: tuple[Step, ...] = ()
    problems: tuple[Invalid, ...] = ()
    notices: tuple[Notice, ...] = ()
    hinted: bool = False
    edited: bool = False
    first: bool = False
    forced: bool = False
    final: bool = False
    remaining: Plan = ()
    why_remaining: str = ""
    seconds: float = 0.0

    @property
    def action(self) -> str:
        """What the pass did in one word: attached, updated, repaired or detached."""
        if not self.desired:
            return "detached"
        if self.edited and not self.first:
            return "updated"
        return "attached" if self.first or self.forced else "repaired"
