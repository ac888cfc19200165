"""Veth pairs of a burst: those that wait are made together, each with both ends up.

ovs-vswitchd configures its bridge and reads all routes once for all link events that it has not
read yet. Pairs that come over a tenth of a second cost it ten such rounds.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ovnlet.core.errors import NodeFault, UnknownSandbox
from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Veth
from ovnlet.drivers.links.open_sandboxes import OpenSandboxes
from ovnlet.drivers.links.veths import Sandbox
from ovnlet.drivers.linux.rtnetlink import make_veth, no_link_local, set_link
from ovnlet.drivers.linux.transport import Refused, Request, Socket

# The kernel has no IPv6, or none on a link with so small an MTU: there is nothing to switch off.
NO_IPV6 = frozenset({errno.EAFNOSUPPORT})
# The most that are made together: each blocks the event loop for a quarter of a millisecond.
_MOST = 64


@dataclass(slots=True)
class _Waiting:
    """A pair that may be made once ``may`` returns true. ``error`` is the kernel's refusal."""

    attachment: Attachment
    veth: Veth
    may: Callable[[], bool]
    is_made: bool = False
    error: Refused | None = None


class Pairs:
    """Pairs that are about to be made. Who needs one first makes all that may be made."""

    def __init__(self, sandboxes: OpenSandboxes) -> None:
        self._sandboxes = sandboxes
        self._waiting: dict[AttachmentKey, _Waiting] = {}

    @contextmanager
    def joined(
        self, identity: Any, steps: Sequence[Step], may: Callable[[], bool]
    ) -> Iterator[None]:
        """Within the context, let others make the pair of the steps once ``may`` returns true."""
        for step in steps:
            if step.verb is Verb.ENSURE and isinstance(step.resource, Veth) and step.was is None:
                self._waiting[identity.key] = _Waiting(identity, step.resource, may)
        try:
            yield
        finally:
            self._waiting.pop(identity.key, None)

    def make(self, sandbox: Sandbox, attachment: Attachment, veth: Veth) -> Refused | None:
        """Return the kernel's refusal of this pair; None once both its ends are up.

        Another attachment may have made it already. Raise OSError if the socket fails.
        """
        own = self._waiting.pop(attachment.key, None)
        if own is not None and own.is_made and own.veth == veth:
            return own.error
        others = [each for each in self._waiting.values() if not each.is_made and each.may()]
        with ExitStack() as stack:
            pairs, those = [(veth, sandbox)], []
            for each in others[: _MOST - 1]:
                try:
                    opened = stack.enter_context(self._sandboxes.open(each.attachment))
                except (UnknownSandbox, NodeFault):
                    continue  # its own turn finds the same, or makes one more in this pod
                pairs.append((each.veth, opened))
                those.append(each)
            error, *errors = _make(sandbox.host, pairs)
        for each, refusal in zip(those, errors, strict=True):
            each.is_made, each.error = True, refusal
        return error


def _make(host: Socket, pairs: Sequence[tuple[Veth, Sandbox]]) -> list[Refused | None]:
    """Make the pairs in one send, set up their ends in the pods, then those of the node in another.

    In this order the node has no event between, and a pair has its carrier with its last message.
    """
    made = host.ask(*(make_veth(v.host, v.pod, v.mac, v.mtu, into.netns) for v, into in pairs))
    errors = [answer.error for answer in made]
    for place, (veth, sandbox) in enumerate(pairs):
        if errors[place] is None:
            (answer,) = sandbox.pod.ask(set_link(veth.pod, up=True, alias=veth.alias))
            errors[place] = answer.error
    came = [place for place, error in enumerate(errors) if error is None]
    requests: list[Request] = []
    for veth, _ in (pairs[place] for place in came):
        requests += [no_link_local(veth.host), set_link(veth.host, up=True, alias=veth.alias)]
    answers = iter(host.ask(*requests))
    for place in came:
        mode, end = next(answers).error, next(answers).error
        errors[place] = end if mode is None or mode.errno in NO_IPV6 else mode
    return errors
