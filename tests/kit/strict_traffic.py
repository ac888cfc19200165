"""Bandwidth limits of a node in memory: QoS rows, queues, policing, and what ovs-vswitchd made.

As in OVS, no QoS row is collected as garbage, and ovs-vswitchd never checks what it once made.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kit.strict_kernel import StrictKernel
from kit.strict_links import NODE, Link, Refused
from ovnlet.core.resources import (
    HtbQdisc,
    LeafQdisc,
    Limited,
    Network,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Resource,
    TbfQdisc,
)
from ovnlet.core.resources.ovs import MARK


@dataclass(slots=True, eq=False)
class Limit:
    """A QoS row with its Queue. ``whole`` is False if the Queue was removed from it."""

    uuid: int
    labels: dict[str, str]
    rate: int | None
    burst: int
    told: frozenset[tuple[str, str]] = frozenset()
    whole: bool = True

    @property
    def mark(self) -> str | None:
        """Our mark in the row's external_ids."""
        return self.labels.get(MARK)


@dataclass(slots=True, eq=False)
class Plug:
    """A port's QoS row and policing, and the links whose qdisc and filter ovs-vswitchd made."""

    qos: int | None = None
    policing: tuple[int, int] | None = None
    made: int | None = None
    polices: tuple[int, tuple[int, int] | None] | None = None


@dataclass
class StrictTraffic:
    """The limits of one node. A port's row in ``plugs`` is deleted with it, ``limits`` are not."""

    kernel: StrictKernel
    plugs: dict[str, Plug] = field(default_factory=dict)
    limits: dict[int, Limit] = field(default_factory=dict)

    def observe(
        self, name: str, mark: str, port: tuple[object, ...]
    ) -> Iterator[OvsQos | OvsPolicing]:
        """Yield the policing of port ``name`` and the QoS row with ``mark``, as the driver does."""
        plug = self.plugs.get(name)
        if plug and plug.policing:
            yield OvsPolicing(port, name, *plug.policing)
        if ours := [limit for limit in self.limits.values() if limit.mark == mark]:
            bound = (
                plug is not None and len(ours) == 1 and plug.qos == ours[0].uuid and ours[0].whole
            )
            labels = frozenset(ours[0].labels.items())
            yield OvsQos(port, name, ours[0].rate, ours[0].burst, labels, ours[0].told, bound)

    def put(self, wanted: Resource, pod: Link | None) -> None:
        """Ensure a limit, as the drivers do. Raise Refused as the kernel or OVSDB would."""
        match wanted:
            case OvsQos():
                self._shape(wanted)
            case OvsPolicing(name=name, rate=rate, burst=burst):
                if plug := self.plugs.get(name):  # OVSDB: an update that matches no row succeeds
                    plug.policing = (rate, burst)
            case TbfQdisc(rate=rate, burst=burst) if pod:
                pod.shaper = (rate, burst)
            case HtbQdisc():
                self._enforce(wanted)
            case PoliceFilter():
                self._police(wanted)
            case LeafQdisc():
                self._impair(wanted)
            case _:
                raise AssertionError(wanted)

    def lift(self, unwanted: Resource, pod: Link | None) -> None:
        """Remove a limit, as the drivers do."""
        match unwanted:
            case OvsQos(labels=labels):
                self.forget(dict(labels)[MARK])
            case OvsPolicing(name=name):
                self.plugs[name].policing = None
            case TbfQdisc() if pod:
                pod.shaper = None
            case LeafQdisc(host=host):
                self.kernel.link(NODE, host).leaf = None
            case _:
                raise AssertionError("a setting is removed with its link, a qdisc with its rows")

    def _shape(self, wanted: OvsQos) -> None:
        if wanted.name not in self.plugs:
            raise Refused(errno.ENOENT, wanted.name)
        labels = dict(wanted.labels)
        self.forget(labels[MARK])
        uuid = self.kernel.next_serial()
        self.limits[uuid] = Limit(uuid, labels, wanted.rate, wanted.burst, wanted.other_config)
        self.plugs[wanted.name].qos = uuid

    def forget(self, mark: str) -> None:
        """Delete the QoS rows with ``mark``, and the references to them.

        OVSDB refuses to delete a row that another row still refers to.
        """
        gone = {uuid for uuid, limit in self.limits.items() if limit.mark == mark}
        for plug in self.plugs.values():
            plug.qos = None if plug.qos in gone else plug.qos
        self.limits = {uuid: limit for uuid, limit in self.limits.items() if uuid not in gone}

    def vswitchd(self) -> None:
        """Read the QoS rows, as ovs-vswitchd does.

        It changes the class of a qdisc that it made. It does not notice that somebody deleted the
        root qdisc.
        """
        for name, plug in self.plugs.items():
            link = self.kernel.find(NODE, name)
            limit = self.limits.get(plug.qos or 0)
            if link is None:
                continue
            if limit is None or not limit.whole:
                if plug.made == link.serial:
                    link.htb, link.leaf, plug.made = None, None, None
            elif plug.made != link.serial or link.htb is not None:
                link.htb, plug.made = limit.rate or 10_000_000_000, link.serial

    def police(self) -> None:
        """Read the policing, as ovs-vswitchd does: the filters.

        A method of its own, so that each step of a plan changes something visible.
        """
        for name, plug in self.plugs.items():
            link = self.kernel.find(NODE, name)
            if link and plug.polices != (link.serial, plug.policing):
                link.policer = plug.policing[0] * 1000 if plug.policing else None
                plug.polices = link.serial, plug.policing

    def _plugged(self, host: str) -> tuple[Link, Plug]:
        if host not in self.plugs:
            raise Refused(errno.ENOENT, host)
        return self.kernel.link(NODE, host), self.plugs[host]

    def _enforce(self, wanted: HtbQdisc) -> None:
        self.vswitchd()
        link, plug = self._plugged(wanted.host)
        if plug.qos and (link.htb is None or wanted.rate not in (None, link.htb)):
            plug.qos, bound = None, plug.qos
            self.vswitchd()
            link.leaf = None
            plug.qos = bound
            self.vswitchd()

    def _police(self, wanted: PoliceFilter) -> None:
        """Have the filter made again, by another burst for a moment."""
        self.police()
        link, plug = self._plugged(wanted.host)
        if plug.policing and link.policer != wanted.rate:
            (rate, burst) = plug.policing
            for plug.policing in ((rate, burst + 1), (rate, burst)):
                self.police()

    def _impair(self, wanted: LeafQdisc) -> None:
        link = self.kernel.link(NODE, wanted.host)
        if link.htb is None:
            raise Refused(errno.ENOENT, wanted.host)
        link.leaf = wanted

    def facts(self) -> Iterator[tuple[object, ...]]:
        """Yield everything there is as comparable facts."""
        for name, plug in self.plugs.items():
            yield "plug", name, plug.qos, plug.policing
        for limit in self.limits.values():
            yield (
                "limit",
                limit.mark,
                limit.uuid,
                frozenset(limit.labels.items()),
                limit.rate,
                limit.burst,
                limit.told,
            )


def seen(veth: tuple[object, ...], host: Link, pod: Link, desired: Network) -> Iterable[Limited]:
    """Yield the qdiscs and filters on a veth pair that the driver would observe."""
    if pod.shaper:
        yield TbfQdisc(veth, pod.name, *pod.shaper)
    if host.policer is not None and any(
        isinstance(each, PoliceFilter) and each.host == host.name for each in desired
    ):
        yield PoliceFilter(veth, host.name, host.policer)
    if host.htb is None:
        return
    for wanted in desired:
        if isinstance(wanted, HtbQdisc) and wanted.host == host.name:
            yield HtbQdisc(veth, host.name, None if wanted.rate is None else host.htb)
    if host.leaf:
        yield replace(host.leaf, veth=veth, host=host.name)
