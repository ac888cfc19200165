"""A node in memory: the strict kernel, the rows of an Open_vSwitch database, and OVN.

``observe`` and ``apply`` do what the drivers do, by the same marks of ownership. ``inventory``
shows everything there is, ours and foreign.
"""

import errno
from collections.abc import Iterable

from kit import strict_observation, strict_routes, strict_traffic
from kit.strict_kernel import StrictKernel
from kit.strict_links import NODE, POD, Entry, Link, Refused
from kit.strict_rows import Row
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


class StrictNode:
    """The node of one attachment."""

    def __init__(self, attachment: Attachment, bridge: str = "br-int") -> None:
        self.attachment, self.bridge = attachment, bridge
        self.host = ids.host_link(*attachment.key)
        self.kernel = StrictKernel()
        self.traffic = StrictTraffic(self.kernel)
        self.rows: dict[str, Row] = {}

    # Observation

    def observe(self, desired: Network) -> Network:
        """Return all that is ours; settings and duplicate iface-ids only if ``desired`` has them.

        Raise Taken if something is desired and a foreign thing has one of our names.
        """
        if desired and (taken := self.taken()):
            raise Taken(taken)
        ports = list(self._ports())
        found: set[Resource] = {*ports, *self._claims(desired), *self._limits(ports)}
        for host, pod in self.pairs():
            veth = strict_observation.veth(host, pod, desired)
            found.add(veth)
            found |= set(strict_observation.addresses(veth, pod, desired))
            found |= set(strict_observation.settings(veth, pod, desired))
            found |= set(strict_observation.loopback(veth, self.kernel.loopback_up, desired))
            found |= set(strict_routes.seen(veth, pod, desired))
            found |= set(strict_traffic.seen(veth.key, host, pod, desired))
        return frozenset(found)

    def pairs(self) -> list[tuple[Link, Link]]:
        """Return our veth pairs, found by the recorded name on the node or the alias in the pod."""
        alias = ids.alias(*self.attachment.key)
        pods = (link for link in self.kernel if link.netns == POD and link.peer)
        return [
            (pod.peer, pod)
            for pod in pods
            if pod.peer and (pod.peer.name == self.host or pod.alias == alias)
        ]

    def our_rows(self) -> list[Row]:
        """Return the rows with our mark, and the one of our name with this pod's labels only."""
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
        """Return which foreign thing has a name that should be ours, "" if none has."""
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

    # Steps

    def apply(self, step: Step) -> None:
        """Apply one step of a plan. Raise Refused as the kernel or OVSDB would."""
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
        """Delete a port, as `ovs-vsctl del-port` does: the QoS row that it refers to stays."""
        del self.rows[row.name]
        del self.traffic.plugs[row.name]

    def label(self, row: Row, name: str, value: str | None) -> None:
        """Set a key of the Interface's external_ids; None removes it."""
        row.external_ids.pop(name, None)
        if value is not None:
            row.external_ids[name] = value

    def unmark(self, row: Row) -> None:
        """Remove our mark from the Port."""
        row.mark = None

    def add_row(self, row: Row) -> Row:
        """Add a port. OVSDB's index on Port.name spans all bridges: a name exists once."""
        if row.name in self.rows:
            raise Refused(errno.EEXIST, row.name)
        row.serial = self.kernel.next_serial()
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
        """Return the pod's end that a resource lies within; never a foreign link of that name."""
        _, host, pod = resource.veth
        for near, far in self.pairs():
            if (near.name, far.name) == (host, pod):
                return far
        raise Refused(errno.ENODEV, pod)

    # OVN and the inventory

    def ovn(self) -> None:
        """Let ovs-vswitchd and ovn-controller catch up.

        ovn-controller installs a row with a link and an `iface-id` that no other row has. It never
        removes `ovn-installed` afterwards.
        """
        self.traffic.vswitchd()
        self.traffic.police()
        names = [row.external_ids.get("iface-id") for row in self.rows.values()]
        for row in self.rows.values():
            link = self.kernel.find(NODE, row.name)
            iface_id = row.external_ids.get("iface-id")
            pending = row.bridge == self.bridge and row.installed is None and not row.lost
            if pending and link and iface_id and names.count(iface_id) == 1:
                row.installed = link.serial

    def inventory(self) -> frozenset[tuple[object, ...]]:
        """Return everything there is as comparable facts."""
        facts: set[tuple[object, ...]] = set(self.traffic.facts())
        facts.add(("loopback", self.kernel.loopback_up))
        for link in self.kernel:
            here = (link.netns, link.name)
            facts.add(("qdisc", *here, link.htb, link.leaf, link.policer, link.shaper))
            state = (link.mac, link.mtu, link.up, link.arp, link.alias, link.tx_checksum)
            facts.add(("link", *here, *state, link.serial))
            facts |= {("setting", *here, *item) for item in link.settings.items()}
            facts |= {("address", *here, held) for held in link.addresses}
            facts |= {("route", *here, entry) for entry in link.routes}
        for row in self.rows.values():
            facts.add(("row", row.bridge, row.name, row.mark, row.lost, row.blocked, row.serial))
            facts |= {("external_id", row.name, *item) for item in row.external_ids.items()}
        return frozenset(facts)
