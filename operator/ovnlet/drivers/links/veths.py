"""Find the veth pairs of a sandbox: by the host end's name, and by our alias on either end.

An end shows of its other end only an index and the id of a namespace (IFLA_LINK,
IFLA_LINK_NETNSID). If that other end is in the sandbox's or the node's namespace, it is shown with
its name; otherwise as ``elsewhere:<index>``, a name that no link can have.
"""

import errno
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from ovnlet.core import ids
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Veth
from ovnlet.drivers.linux.namespaces import entered
from ovnlet.drivers.linux.rtnetlink import Link, get_link, get_links, get_nsid, link, nsid
from ovnlet.drivers.linux.transport import Socket

NO_NAMESPACE = -1
_ELSEWHERE = "elsewhere:"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An open sandbox: a socket in the node's namespace, one in the pod's, the pod's descriptor.

    For the node's own interface both sockets are one, and there is no descriptor.
    """

    host: Socket
    pod: Socket
    netns: int

    def inside(self) -> AbstractContextManager[None]:
        """Return the context with the calling thread inside. Its body must not await."""
        return nullcontext() if self.netns == NO_NAMESPACE else entered(self.netns)


@dataclass(frozen=True, slots=True)
class Pair:
    """A veth pair of ours. An end that cannot be seen is None."""

    host: Link | None
    pod: Link | None

    def value(self, wanted: Veth | None) -> Veth:
        """Return the pair as a value. If its ends differ, take what differs from the wanted one."""
        ends = [end for end in (self.pod, self.host) if end]
        found = Veth(
            host=self.host.name if self.host else f"{_ELSEWHERE}{self.pod.peer if self.pod else 0}",
            pod=self.pod.name if self.pod else f"{_ELSEWHERE}{self.host.peer if self.host else 0}",
            mac=self.pod.mac if self.pod else "",
            mtu=_differing((end.mtu for end in ends), wanted.mtu if wanted else None),
            alias=_differing((end.alias for end in ends), wanted.alias if wanted else None),
            host_up=bool(self.host and self.host.up),
            pod_up=bool(self.pod and self.pod.up),
            arp=self.pod is None or self.pod.arp,
        )
        if wanted is None or not wanted.lent or self.pod is None:
            return found
        # Without this, a rename since the wanted name was found would look like another pair.
        return replace(
            found,
            pod=wanted.pod,
            mac=wanted.mac,
            pod_up=wanted.pod_up,
            arp=wanted.arp,
            lent=True,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Our pairs, and a message about a foreign link with a name of ours, or "" if there is none."""

    pairs: tuple[Pair, ...]
    taken: str = ""


def is_elsewhere(name: str) -> bool:
    """Return whether the name stands for an end in a third namespace."""
    return name.startswith(_ELSEWHERE)


def named(socket: Socket, which: str | int) -> Link | None:
    """Return the link with that name or index in the socket's namespace, or None without one.

    Raise Refused if the kernel refuses the question, OSError if the socket fails.
    """
    (answer,) = socket.ask(get_link(which))
    if answer.error is None:
        return link(answer.replies[0])
    if answer.error.errno == errno.ENODEV:
        return None
    raise answer.error


def index_of(name: str) -> int:
    """Return the index of the node's link of that name, or 0. Raise Refused or OSError."""
    with Socket() as host:
        found = named(host, name)
    return found.index if found else 0


def find(sandbox: Sandbox, attachment: Attachment, ifname: str = "") -> Found:
    """Return the attachment's pairs. Raise Refused or OSError.

    ``ifname`` is the name of the pod's end where it is not the attachment's.

    List all links of the pod only if the host end's name does not lead to the whole pair.
    """
    name, alias = attachment.host_link, ids.alias(*attachment.key)
    ifname = ifname or attachment.ifname
    end, inside = _host_end(sandbox, name)
    pairs, taken = [], ""
    if end and inside:
        pairs.append(Pair(end, named(sandbox.pod, end.peer)))
    elif end and end.alias == alias:
        pairs.append(Pair(end, None))
    elif end:
        taken = f"a foreign link {name} exists on the node"
    if pairs and (peer := pairs[0].pod) and peer.name == ifname:
        return Found(tuple(pairs))
    links = [link(body) for body in sandbox.pod.dump(get_links())]
    known = {pair.pod.index for pair in pairs if pair.pod}
    with_alias = [
        each
        for each in links
        if each.kind == "veth" and each.alias == alias and each.index not in known
    ]
    pairs.extend(Pair(_peer(sandbox, each), each) for each in with_alias)
    known.update(each.index for each in with_alias)
    if any(each.name == ifname and each.index not in known for each in links):
        taken = f"a foreign link {ifname} exists in the pod"
    return Found(tuple(pairs), taken)


def _host_end(sandbox: Sandbox, which: str | int) -> tuple[Link | None, bool]:
    """Return a link of the node, and whether it is a veth whose peer is in the sandbox.

    The order of the two requests matters: when the kernel shows the link, it gives the sandbox's
    namespace an id if it has none yet.
    """
    found, answer = sandbox.host.ask(get_link(which), get_nsid(sandbox.netns))
    if found.error and found.error.errno == errno.ENODEV:
        return None, False
    if error := found.error or answer.error:
        raise error
    end = link(found.replies[0])
    inside = end.kind == "veth" and end.peer_nsid == nsid(answer.replies[0]) and end.peer_nsid >= 0
    return end, inside


def _peer(sandbox: Sandbox, pod: Link) -> Link | None:
    """Return the node's end of a link in the pod, or None if that end is not on the node."""
    if pod.peer_nsid is None:
        return None
    end, inside = _host_end(sandbox, pod.peer)
    return end if end and inside and end.peer == pod.index else None


def _differing(values: Iterable[_Value], wanted: _Value | None) -> _Value:
    """Return the first value that is not the wanted one, or the last value."""
    *rest, last = values
    return next((value for value in rest if value != wanted), last)
