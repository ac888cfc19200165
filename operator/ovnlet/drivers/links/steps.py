"""Carry out steps in one sandbox, in order; send consecutive messages together.

All of this runs between entering a namespace and leaving it, so nothing here may await.
"""

import errno
from collections.abc import Iterable
from ipaddress import ip_interface

from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import (
    Address,
    CompetingRoute,
    LeafQdisc,
    Loopback,
    Nic,
    Offload,
    Route,
    Sysctl,
    TbfQdisc,
    Veth,
)
from ovnlet.drivers.links import traffic_control, veths
from ovnlet.drivers.links.pairs import NO_IPV6, Pairs
from ovnlet.drivers.links.routes import add_route, delete_competing_route, delete_route
from ovnlet.drivers.linux import ethtool, ifreq, sysctl
from ovnlet.drivers.linux.rtnetlink import (
    delete_address,
    no_link_local,
    put_address,
    set_link,
)
from ovnlet.drivers.linux.transport import Refused, Request, Socket

# The answers to a removal that mean that the thing is not there.
GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})
# One message, the step that it belongs to, and the error numbers that are no failure of the step.
_Message = tuple[Step, Request, frozenset[int]]
# Another qdisc is there, or none.
_NOT_OURS = GONE | {errno.EINVAL}


def fault(step: Step, error: Refused) -> NodeFault:
    """Return the error that names both the step and the kernel's answer."""
    return NodeFault(f"{step}: {error}")


def _removal(
    step: Step, index: int, resource: Address | Route | CompetingRoute | TbfQdisc
) -> _Message:
    match resource:
        case Address():
            return step, delete_address(index, resource.ip), GONE
        case Route():
            return (
                step,
                delete_route(
                    index, resource.destination, resource.via, resource.source, resource.later
                ),
                GONE,
            )
        case CompetingRoute():
            return step, delete_competing_route(index, resource), GONE
        case TbfQdisc():
            return step, traffic_control.delete_shaper(index), _NOT_OURS


class StepRunner:
    """Carries out the steps of one attachment in its sandbox.

    ``settings`` is where the node's /proc/sys/net is mounted. Links are looked up by name once and
    then known by their index, so an object serves one run of steps only. ``pairs`` makes pairs.
    """

    def __init__(
        self, sandbox: veths.Sandbox, attachment: Attachment, settings: str, pairs: Pairs
    ) -> None:
        self._sandbox, self._attachment, self._settings = sandbox, attachment, settings
        self._pairs = pairs
        self._batch: list[_Message] = []
        self._indices: dict[str, int] = {}

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Carry out the steps in order. Messages into the pod are batched.

        Raise NodeFault if the kernel refuses a step or a link is missing, and Taken if a foreign
        link has the name of a veth that is to be made. The kernel carries out the rest of a batch
        even if it refuses one message.
        """
        for step in steps:
            if step.verb is Verb.REMOVE:
                self._remove(step)
            else:
                self._ensure(step)
        self._flush()

    def _remove(self, step: Step) -> None:
        match step.resource:
            case Address() | Route() | CompetingRoute() | TbfQdisc() as resource:
                if index := self._index(resource.pod):
                    self._batch.append(_removal(step, index, resource))
            case LeafQdisc() as leaf:
                if end := veths.named(self._sandbox.host, leaf.host):
                    self._send(
                        self._sandbox.host,
                        [(step, traffic_control.delete_leaf(end.index, leaf), _NOT_OURS)],
                    )
            case Sysctl() | Offload() | Loopback() | Nic():
                pass  # these go with their link, and a Nic goes with its port
            case _:
                raise NodeFault(f"{step}: not for netlink")

    def _ensure(self, step: Step) -> None:
        match step.resource:
            case Address() as address:
                self._ensure_address(step, self._require_index(step, address.pod), address)
            case Route() as route:
                self._ensure_route(step, self._require_index(step, route.pod), route)
            case Veth() | Nic() as link:
                self._flush()
                self._ensure_link(step, link)
            case TbfQdisc() as shaper:
                self._batch.append(
                    (
                        step,
                        traffic_control.put_shaper(self._require_index(step, shaper.pod), shaper),
                        frozenset(),
                    )
                )
            case LeafQdisc() as leaf:
                self._ensure_leaf(step, leaf)
            case Sysctl() | Offload() | Loopback() as setting:
                self._flush()
                self._ensure_setting(step, setting)
            case _:
                raise NodeFault(f"{step}: not for netlink")

    def _ensure_setting(self, step: Step, setting: Sysctl | Offload | Loopback) -> None:
        match setting:
            case Sysctl():
                with self._sandbox.inside():
                    sysctl.write(self._settings, setting.name, setting.value)
            case Offload():
                ethtool.set_tx_checksum(self._sandbox.pod, setting.pod, setting.tx_checksum)
            case Loopback():
                self._batch.append((step, set_link(setting.name, up=setting.up), frozenset()))

    def _ensure_address(self, step: Step, index: int, address: Address) -> None:
        """Add the address, or change its flag.

        Linux changes the flag of an IPv6 address alone. An IPv4 address goes and comes while the
        link has it with another prefix: the last one would take all routes along, and the last
        with that IP those with it as their source.
        """
        put = (
            step,
            put_address(index, address.ip, address.noprefixroute),
            frozenset[int](),
        )
        if step.was is None or address.ip.version == 6:
            self._batch.append(put)
            return
        single = ip_interface(address.ip.ip)
        meanwhile = (step, put_address(index, single, noprefixroute=True), frozenset[int]())
        self._batch += [meanwhile, _removal(step, index, address), put]
        self._batch.append((step, delete_address(index, single), GONE))

    def _ensure_route(self, step: Step, index: int, route: Route) -> None:
        """Add the route beside what others have to the same destination, then remove our old one.

        A removal cannot tell two routes with one next hop apart, so in that case the old route goes
        first.
        """
        new = (
            step,
            add_route(index, route.destination, route.via, route.source, route.later),
            frozenset({errno.EEXIST}),
        )
        if not isinstance(step.was, Route):
            self._batch.append(new)
        elif step.was.via in (None, route.via) or route.via is None:
            self._batch += [_removal(step, index, step.was), new]
        else:
            self._batch += [new, _removal(step, index, step.was)]

    def _ensure_leaf(self, step: Step, leaf: LeafQdisc) -> None:
        end = veths.named(self._sandbox.host, leaf.host)
        if end is None:
            raise NodeFault(f"{step}: ENODEV: there is no link {leaf.host}")
        self._send(
            self._sandbox.host, [(step, traffic_control.put_leaf(end.index, leaf), frozenset())]
        )

    def _ensure_link(self, step: Step, link: Veth | Nic) -> None:
        if isinstance(link, Nic):
            self._ensure_nic(step, link)
        else:
            self._ensure_veth(step, link)

    def _ensure_veth(self, step: Step, veth: Veth) -> None:
        was = step.was if isinstance(step.was, Veth) else self._make_veth(step, veth)
        if was is None:
            return
        mtu = veth.mtu if veth.mtu != was.mtu else None
        alias = veth.alias if veth.alias != was.alias else None
        up = veth.host_up if veth.host_up != was.host_up else None
        requests = [(step, set_link(veth.host, up=up, mtu=mtu, alias=alias), frozenset[int]())]
        if up:
            requests.insert(0, (step, no_link_local(veth.host), NO_IPV6))
        self._send(self._sandbox.host, requests)
        up = veth.pod_up if veth.pod_up != was.pod_up else None
        arp = veth.arp if veth.arp != was.arp else None
        mac = veth.mac if veth.mac != was.mac else None
        request = set_link(veth.pod, up=up, arp=arp, mtu=mtu, mac=mac, alias=alias)
        self._batch.append((step, request, frozenset()))

    def _ensure_nic(self, step: Step, nic: Nic) -> None:
        """Set a link that ovs-vswitchd made, in one message.

        Never set the link down on the way: it would lose its addresses.
        """
        self._require_index(step, nic.name)
        was = step.was if isinstance(step.was, Nic) else None
        mac = nic.mac if was is None or was.mac != nic.mac else None
        arp = nic.arp if was is not None and was.arp != nic.arp else None
        request = set_link(nic.name, up=nic.up, arp=arp, mtu=nic.mtu, mac=mac)
        self._send(self._sandbox.host, [(step, request, frozenset())])

    def _make_veth(self, step: Step, veth: Veth) -> Veth | None:
        """Make the pair whole and return None, or return one of ours that existed as it is.

        Raise Taken if a foreign link has one of its names, NodeFault for any other refusal.
        """
        self._indices.pop(veth.pod, None)
        error = self._pairs.make(self._sandbox, self._attachment, veth)
        if error is None:
            return None
        if error.errno != errno.EEXIST:
            raise fault(step, error)
        found = veths.find(self._sandbox, self._attachment)
        for pair in found.pairs:
            if (value := pair.value(veth)).key == veth.key:
                return value
        raise Taken(f"{step}: {found.taken or error}")

    def _index(self, pod: str) -> int:
        """Return the index of the pod's link, or 0 if there is no such link."""
        if pod not in self._indices:
            self._indices[pod] = ifreq.index(self._sandbox.pod, pod)
        return self._indices[pod]

    def _require_index(self, step: Step, pod: str) -> int:
        if index := self._index(pod):
            return index
        raise NodeFault(f"{step}: ENODEV: there is no link {pod}")

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._send(self._sandbox.pod, batch)

    def _send(self, socket: Socket, batch: list[_Message]) -> None:
        """Send the messages together. Raise NodeFault for the first that failed."""
        answers = socket.ask(*(request for _, request, _ in batch))
        for (step, _, tolerated), answer in zip(batch, answers, strict=True):
            if answer.error and answer.error.errno not in tolerated:
                raise fault(step, answer.error)
