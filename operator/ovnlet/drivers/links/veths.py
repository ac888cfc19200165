"""Which pairs of links are a sandbox's own: told by the host end's name, and by our alias on either end.

What is seen of the other end is an index and the id of a namespace (IFLA_LINK, IFLA_LINK_NETNSID). Only an
end whose namespace is the sandbox's, or the node's, can be named; any other is ``elsewhere:<index>``, a
name that no link can have.
"""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ovnlet.core import ids
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Veth
from ovnlet.drivers.linux.rtnetlink import Link, get_link, get_links, get_nsid, link, nsid
from ovnlet.drivers.linux.transport import Socket

_ELSEWHERE = "elsewhere:"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What one look needs: a socket on either side, and a descriptor of the pod's namespace."""

    host: Socket
    pod: Socket
    netns: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A veth of ours; an end that cannot be seen is None."""

    host: Link | None
    pod: Link | None

    def value(self, wanted: Veth | None) -> Veth:
        """The pair as a value; where its ends differ, what deviates from the wanted one."""
        ends = [end for end in (self.pod, self.host) if end]
        return Veth(
            host=self.host.name if self.host else f"{_ELSEWHERE}{self.pod.peer if self.pod else 0}",
            pod=self.pod.name if self.pod else f"{_ELSEWHERE}{self.host.peer if self.host else 0}",
            mac=self.pod.mac if self.pod else "",
            mtu=_deviating((end.mtu for end in ends), wanted.mtu if wanted else None),
            alias=_deviating((end.alias for end in ends), wanted.alias if wanted else None),
            host_up=bool(self.host and self.host.up),
            pod_up=bool(self.pod and self.pod.up),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Our pairs, and words for a foreign link on a name of ours, empty where there is none."""

    pairs: tuple[Pair, ...]
    taken: str = ""


def is_elsewhere(name: str) -> bool:
    return name.startswith(_ELSEWHERE)


def named(socket: Socket, which: str | int) -> Link | None:
    (answer,) = socket.ask(get_link(which))
    if answer.error is None:
        return link(answer.replies[0])
    if answer.error.errno == errno.ENODEV:
        return None
    raise answer.error


def find(sandbox: Sandbox, attachment: Attachment) -> Found:
    name, mark = ids.host_link(*attachment.key), ids.alias(*attachment.key)
    end, inside = _host_end(sandbox, name)
    pairs, taken = [], ""
    if end and inside:
        pairs.append(Pair(end, named(sandbox.pod, end.peer)))
    elif end and end.alias == mark:
        pairs.append(Pair(end, None))
    elif end:
        taken = f"a foreign link {name} stands on the node"
    if pairs and (peer := pairs[0].pod) and peer.name == attachment.ifname:
        return Found(tuple(pairs))
    links = [link(body) for body in sandbox.pod.dump(get_links())]
    known = {pair.pod.index for pair in pairs if pair.pod}
    marked = [
        each
        for each in links
        if each.kind == "veth" and each.alias == mark and each.index not in known
    ]
    pairs.extend(Pair(_peer(sandbox, each), each) for each in marked)
    known.update(each.index for each in marked)
    if any(each.name == attachment.ifname and each.index not in known for each in links):
        taken = f"a foreign link {attachment.ifname} stands in the pod"
    return Found(tuple(pairs), taken)


def _host_end(sandbox: Sandbox, which: str | int) -> tuple[Link | None, bool]:
    """A link of the node, and whether it is a veth with its peer in the sandbox.

    The kernel gives the sandbox an id, where it has none yet, when it shows the link: hence the order.
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
    """The node's end of a link inside; None where it is in neither namespace."""
    if pod.peer_nsid is None:
        return None
    end, inside = _host_end(sandbox, pod.peer)
    return end if end and inside and end.peer == pod.index else None


def _deviating(values: Iterable[_Value], wanted: _Value | None) -> _Value:
    *rest, last = values
    return next((value for value in rest if value != wanted), last)
