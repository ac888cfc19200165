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
from ovnlet.drivers.links.veths import Sandbox
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.rtnetlink import make_veth, no_link_local, set_link
from ovnlet.drivers.linux.transport import Refused, Request, Socket

# The kernel has no IPv6, or none on a link with so small an MTU: there is nothing to switch off.
NO_IPV6 = frozenset({errno.EAFNOSUPPORT})
# The most that are made together: each blocks the event loop for a quarter of a millisecond.
_MOST = 64


@dataclass(slots=True)
class _Waiting:
    """A pair that may be made once ``may`` returns true. ``error`` is the kernel's refusal."""

    netns: str
    veth: Veth
    may: Callable[[], bool]
    is_made: bool = False
    error: Refused | None = None


class Pairs:
    """Pairs that are about to be made. Who needs one first makes all that may be made."""

    def __init__(self) -> None:
        self._waiting: dict[AttachmentKey, _Waiting] = {}

    @contextmanager
    def joined(
        self, identity: Any, steps: Sequence[Step], may: Callable[[], bool]
    ) -> Iterator[None]:
        """Within the context, let others make the pair of the steps once ``may`` returns true."""
        for step in steps:
            if step.verb is Verb.ENSURE and isinstance(step.resource, Veth) and step.was is None:
                self._waiting[identity.key] = _Waiting(identity.netns, step.resource, may)
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
            pairs, those = [(veth, sandbox.netns)], []
            for each in others[: _MOST - 1]:
                try:
                    pairs.append((each.veth, stack.enter_context(opened(each.netns))))
                except (UnknownSandbox, NodeFault):
                    continue  # its own turn finds the same, or makes one more in this pod
                those.append(each)
            error, *errors = _make(sandbox, pairs)
        for each, refusal in zip(those, errors, strict=True):
            each.is_made, each.error = True, refusal
        return error


def _make(sandbox: Sandbox, pairs: Sequence[tuple[Veth, int]]) -> list[Refused | None]:
    """Make the pairs in one send, set up their ends in the pods, then those of the node in another.

    In this order the node has no event between, and a pair has its carrier with its last message.
    The first pair is the sandbox's own.
    """
    host = sandbox.host
    made = host.ask(*(make_veth(v.host, v.pod, v.mac, v.mtu, netns) for v, netns in pairs))
    errors = [answer.error for answer in made]
    for place, (veth, netns) in enumerate(pairs):
        if errors[place] is None:
            up = set_link(veth.pod, up=True, alias=veth.alias)
            errors[place] = _inside(sandbox.pod if place == 0 else None, netns, up)
    came = [place for place, error in enumerate(errors) if error is None]
    requests: list[Request] = []
    for veth, _ in (pairs[place] for place in came):
        requests += [no_link_local(veth.host), set_link(veth.host, up=True, alias=veth.alias)]
    answers = iter(host.ask(*requests))
    for place in came:
        mode, end = next(answers).error, next(answers).error
        errors[place] = end if mode is None or mode.errno in NO_IPV6 else mode
    return errors


def _inside(own: Socket | None, netns: int, request: Request) -> Refused | None:
    """Send a request in a pod's namespace, by a socket that is there or by a new one."""
    if own is not None:
        return own.ask(request)[0].error
    with entered(netns), Socket() as pod:
        return pod.ask(request)[0].error
