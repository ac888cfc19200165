"""A node in memory: the strict kernel, the rows of an Open_vSwitch database, and an OVN that catches up.

``observe`` and ``apply`` do what the drivers do, by the same marks of ownership. ``inventory`` shows
everything there is, ours and others'.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kit import strict_routes, strict_traffic
from kit.strict_kernel import NODE, POD, Entry, Link, Refused, StrictKernel
from kit.strict_traffic import Plug, StrictTraffic
from ovnlet.core import ids
from ovnlet.core.errors import Taken
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import (
    Address,
    CompetingRoute,
    DuplicateIfaceId,
    Loopback,
    Network,
    Offload,
    OvsPolicing,
    OvsQos,
    Port,
    Resource,
    Route,
    Sysctl,
    TbfQdisc,
    Veth,
)
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.resources.ovs import MARK, OWNED_IDS


@dataclass(slots=True, eq=False)
class Row:
    """A Port and its Interface. ``installed`` is the link that OVN installed its flows for, by its birth.

    ``external_ids`` are the Interface's, ``mark`` is the one in the Port's. ``lost`` is an `ovn-installed` that
    somebody overwrote: OVN does not bring it back unless asked. ``blocked`` are flags that stop its traffic.
    """

    bridge: str
    name: str
    external_ids: dict[str, str] = field(default_factory=dict)
    mark: str | None = None
    installed: int | None = None
    lost: bool = False
    blocked: tuple[str, ...] = ()
    born: int = 0

    @property
    def owner(self) -> str | None:
        return self.mark or self.external_ids.get(MARK)


class StrictNode:
    """The node of one attachment. ``writes`` counts the operations that changed anything."""

    def __init__(self, attachment: Attachment, bridge: str = "br-int") -> None:
        self.attachment, self.bridge = attachment, bridge
        self.host = ids.host_link(*attachment.key)
        self.kernel = StrictKernel()
        self.traffic = StrictTraffic(self.kernel)
        self.rows: dict[str, Row] = {}

    # What is ours

    def observe(self, desired: Network) -> Network:
        """All that is ours, and no more; settings and claims only where they are wanted. Raises Taken."""
        if desired and (taken := self.taken()):
            raise Taken(taken)
        ports = list(self._ports())
        found: set[Resource] = {*ports, *self._claims(desired), *self._limits(ports)}
        for host, pod in self.pairs():
            veth = _veth(host, pod, desired)
            found |= {veth, *_addresses(veth, pod, desired), *_settings(veth, pod, desired)}
            if any(isinstance(resource, Loopback) for resource in desired):
                found.add(Loopback(veth.key, self.kernel.loopback_up))
            found |= set(strict_routes.seen(veth, pod, desired))
            found |= set(strict_traffic.seen(veth.key, host, pod, desired))
        return frozenset(found)

    def pairs(self) -> list[tuple[Link, Link]]:
        """Our veth, known by its recorded name on the node or by the alias in the pod."""
        alias = ids.alias(*self.attachment.key)
        pods = (link for link in self.kernel if link.netns == POD and link.peer)
        return [
            (pod.peer, pod)
            for pod in pods
            if pod.peer and (pod.peer.name == self.host or pod.alias == alias)
        ]

    def our_rows(self) -> list[Row]:
        """Those with our mark; the one of our name that has lost it, known by the labels of this pod."""
        mark = ids.mark(*self.attachment.key)
        labels = {
            "vendor": "kube-ovn",
            "pod_name": self.attachment.pod,
            "pod_namespace": self.attachment.namespace,
        }
        return [
            row
            for row in self.rows.values()
            if row.owner == mark
            or (
                row.owner is None
                and row.name == self.host
                and labels.items() <= row.external_ids.items()
            )
        ]

    def taken(self) -> str:
        """Which foreign thing bears a name that should be ours; empty if none does."""
        ours = {link for pair in self.pairs() for link in pair}
        host, pod = self.kernel.find(NODE, self.host), self.kernel.find(POD, self.attachment.ifname)
        row = self.rows.get(self.host)
        if host and host not in ours:
            return f"link {self.host} on the node"
        if pod and pod not in ours:
            return f"link {self.attachment.ifname} in the pod"
        return f"port {self.host}" if row and row not in self.our_rows() else ""

    def _ports(self) -> Iterable[Port]:
        linked = {host.name for host, _ in self.pairs()}
        for row in self.our_rows():
            ours = {k: v for k, v in row.external_ids.items() if k in OWNED_IDS}
            if row.mark != ours.get(MARK):
                ours.pop(MARK, None)
            orphaned = row.installed is not None and row.name not in linked
            uninstalled = row.lost and row.name in linked
            labels = frozenset(ours.items())
            yield Port(row.bridge, row.name, labels, orphaned, uninstalled, blocked=row.blocked)

    def _limits(self, ports: list[Port]) -> Iterable[OvsQos | OvsPolicing]:
        port = next(
            (port.key for port in ports if port.name == self.host), ("port", "", self.host, False)
        )
        return self.traffic.observe(self.host, ids.mark(*self.attachment.key), port)

    def _claims(self, desired: Network) -> Iterable[DuplicateIfaceId]:
        wanted = {r.ids["iface-id"] for r in desired if isinstance(r, Port)}
        ours = self.our_rows()
        for row in self.rows.values():
            iface_id = row.external_ids.get("iface-id", "")
            if iface_id in wanted and row not in ours:
                yield DuplicateIfaceId(row.name, iface_id)

    # The two verbs

    def apply(self, step: Step) -> None:
        if step.verb is Verb.REMOVE:
            self._remove(step.resource)
        else:
            self._ensure(step.resource)

    def _ensure(self, resource: Resource) -> None:
        match resource:
            case Veth():
                self._ensure_veth(resource)
            case Port():
                self._ensure_port(resource)
            case Sysctl() | Offload() | Loopback():
                self._ensure_setting(resource)
            case Address(ip=ip, noprefixroute=flag):
                self.kernel.add_address(
                    self._end(resource), ip, noprefixroute=flag, protocol=PROTOCOL
                )
            case Route():
                self._ensure_route(resource)
            case DuplicateIfaceId() | CompetingRoute():
                raise AssertionError("never desired")
            case _:
                self.traffic.put(
                    resource, self._end(resource) if isinstance(resource, TbfQdisc) else None
                )

    def _ensure_setting(self, resource: Sysctl | Offload | Loopback) -> None:
        match resource:
            case Sysctl(name=name, value=value):
                self.kernel.set_setting(self._end(resource), name.rpartition("/")[2], value)
            case Offload(tx_checksum=tx_checksum):
                self._end(resource).tx_checksum = tx_checksum
            case Loopback(up=up):
                self.kernel.set_loopback(up)

    def _remove(self, resource: Resource) -> None:
        match resource:
            case Veth():
                self._remove_veth(resource)
            case Port(name=name, bridge=bridge):
                if name in self.rows and self.rows[name].bridge == bridge:
                    if name == self.host:
                        self.traffic.forget(ids.mark(*self.attachment.key))
                    self.delete_row(self.rows[name])
            case DuplicateIfaceId(interface=name):
                self.rows[name].external_ids.pop("iface-id", None)
            case Address(ip=ip):
                self.kernel.delete_address(self._end(resource), ip)
            case Route() | CompetingRoute():
                strict_routes.remove(self.kernel, self._end(resource), resource)
            case _:
                self.traffic.lift(
                    resource, self._end(resource) if isinstance(resource, TbfQdisc) else None
                )

    def _remove_veth(self, veth: Veth) -> None:
        for host, pod in self.pairs():
            if (host.name, pod.name) == (veth.host, veth.pod):
                self.kernel.delete(host)

    def _ensure_veth(self, veth: Veth) -> None:
        host = self.kernel.find(NODE, veth.host)
        if host is None or host.peer is None or host.peer.name != veth.pod:
            self.kernel.add_veth(veth.host, veth.pod, veth.mac, veth.mtu, veth.alias)
            host = self.kernel.link(NODE, veth.host)
        assert host.peer is not None
        host.peer.mac, host.peer.alias, host.alias = veth.mac, veth.alias, veth.alias
        for link in (host, host.peer):
            self.kernel.set_mtu(link, veth.mtu)
            self.kernel.set_up(link)
        self.kernel.set_arp(host.peer, veth.arp)

    def _ensure_port(self, port: Port) -> None:
        row = self.rows.get(port.name) or self.add_row(Row(port.bridge, port.name))
        before = row.external_ids
        row.external_ids = {k: v for k, v in before.items() if k not in OWNED_IDS} | port.ids
        row.mark, row.lost, row.blocked = port.ids[MARK], False, ()
        if before.get("iface-id") != row.external_ids["iface-id"]:
            row.installed = None

    def delete_row(self, row: Row) -> None:
        """As `ovs-vsctl del-port`: what it refers to stays."""
        del self.rows[row.name]
        del self.traffic.plugs[row.name]

    def label(self, row: Row, name: str, value: str | None) -> None:
        """A key of the Interface's external_ids, None to take it away."""
        row.external_ids.pop(name, None)
        if value is not None:
            row.external_ids[name] = value

    def unmark(self, row: Row) -> None:
        row.mark = None

    def add_row(self, row: Row) -> Row:
        """The index of Port.name knows no bridges: a name is taken once for all of them."""
        if row.name in self.rows:
            raise Refused(errno.EEXIST, row.name)
        row.born = self.kernel.birth()
        self.rows[row.name] = row
        self.traffic.plugs[row.name] = Plug()
        return row

    def _ensure_route(self, route: Route) -> None:
        link = self._end(route)
        strict_routes.remove(self.kernel, link, route)
        self.kernel.add_route(link, Entry(route.destination, route.via, route.source, PROTOCOL))

    def _end(
        self, resource: Sysctl | Offload | Address | Route | CompetingRoute | TbfQdisc
    ) -> Link:
        """The pod's end that this lies within: nothing is ever put on a foreign link of that name."""
        _, host, pod = resource.veth
        for near, far in self.pairs():
            if (near.name, far.name) == (host, pod):
                return far
        raise Refused(errno.ENODEV, pod)

    # The others

    def ovn(self) -> None:
        """ovn-controller installs what has a link and an unrivalled `iface-id`; it never takes that back."""
        self.traffic.vswitchd()
        self.traffic.police()
        names = [row.external_ids.get("iface-id") for row in self.rows.values()]
        for row in self.rows.values():
            link = self.kernel.find(NODE, row.name)
            iface_id = row.external_ids.get("iface-id")
            awaited = row.bridge == self.bridge and row.installed is None and not row.lost
            if awaited and link and iface_id and names.count(iface_id) == 1:
                row.installed = link.born

    def inventory(self) -> frozenset[tuple[object, ...]]:
        """Everything there is, as comparable facts."""
        facts: set[tuple[object, ...]] = {
            *self.traffic.facts(),
            ("loopback", self.kernel.loopback_up),
        }
        for link in self.kernel:
            here = (link.netns, link.name)
            facts.add(("qdisc", *here, link.htb, link.leaf, link.policer, link.shaper))
            facts.add(
                (
                    "link",
                    *here,
                    link.mac,
                    link.mtu,
                    link.up,
                    link.arp,
                    link.alias,
                    link.tx_checksum,
                    link.born,
                )
            )
            facts |= {("setting", *here, *item) for item in link.settings.items()}
            facts |= {("address", *here, held) for held in link.addresses}
            facts |= {("route", *here, entry) for entry in link.routes}
        for row in self.rows.values():
            facts.add(("row", row.bridge, row.name, row.mark, row.lost, row.blocked, row.born))
            facts |= {("external_id", row.name, *item) for item in row.external_ids.items()}
        return frozenset(facts)


def _veth(host: Link, pod: Link, desired: Network) -> Veth:
    """Where the ends differ, what deviates from the wanted."""
    wanted = next((resource for resource in desired if isinstance(resource, Veth)), None)
    mtu = host.mtu if wanted and pod.mtu == wanted.mtu else pod.mtu
    alias = host.alias if wanted and pod.alias == wanted.alias else pod.alias
    return Veth(host.name, pod.name, pod.mac, mtu, alias, host.up, pod.up, pod.arp)


def _addresses(veth: Veth, pod: Link, desired: Network) -> Iterator[Address]:
    wanted = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    for held in pod.addresses:
        if held.ip.ip in wanted or held.protocol == PROTOCOL:
            yield Address(veth.key, pod.name, held.ip, held.noprefixroute)


def _settings(veth: Veth, pod: Link, desired: Network) -> Iterator[Sysctl | Offload]:
    for resource in desired:
        if isinstance(resource, Offload) and resource.pod == pod.name:
            yield Offload(veth.key, pod.name, pod.tx_checksum)
        if isinstance(resource, Sysctl):
            *_, link, name = resource.name.split("/")
            if link == pod.name and name in pod.settings:
                yield Sysctl(veth.key, resource.name, pod.settings[name])
