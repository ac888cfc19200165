"""The host of provider networks: a NIC, its bridge, and what the node has on either."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from urllib.parse import urlsplit

from ovnlet.core.errors import Unsafe
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import (
    Key,
    LinkEntry,
    LinkUp,
    Network,
    NetworkMapping,
    Resource,
    UplinkBridge,
    UplinkPort,
)
from ovnlet.core.underlay.leases import outdated
from ovnlet.core.underlay.networks import Intent, ProviderIdentity
from ovnlet.core.underlay.record import ACCEPTS, Found, Settings, chassis_mac
from ovnlet.drivers.links import uplink
from ovnlet.drivers.links.pod import os_errors_as_node_faults
from ovnlet.drivers.linux.solicitation import solicit
from ovnlet.drivers.ovs.uplink_rows import UplinkRows

_ANSWER = 1.0  # seconds to wait for one
_NOT_FOLLOWED = (
    "has what router advertisements gave, which a bridge would not keep: its accept_ra is off, as "
    "systemd-networkd and NetworkManager have it, or its addr_gen_mode is not 0. Configure it "
    "statically, or let the kernel follow them"
)
_OF_OVSDB = UplinkBridge | UplinkPort | NetworkMapping


class UplinkHost:
    """Implements ``reconcile.scopes.provider.ProviderHost``. ``server`` is the API server's URL.

    ``sysctls`` is the path of the node's /proc/sys/net.
    """

    def __init__(self, rows: UplinkRows, server: str, sysctls: str = "/proc/sys/net") -> None:
        self._rows, self._sysctls = rows, sysctls
        where = urlsplit(server)
        self._api = f"{where.hostname} {where.port or 443}"

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB. Raise NotReady without it."""
        await self._rows.ready()

    async def observe(self, identity: ProviderIdentity, desired: Network) -> Network:
        """Return the bridge, the NIC in it, and what the node has on both.

        On the link where the addresses are to be, only what is desired is ours, with whatever
        attributes: an administrator may add to it. So is what a lease has there no longer. On the
        other one all is, for it has to move.
        """
        bridge = f"br-{identity.network}"
        ups = [each.link for each in desired if isinstance(each, LinkUp)]
        nic = next((name for name in ups if name != bridge), "")
        to_bridge = any(isinstance(each, UplinkPort) for each in desired)
        target, other = (bridge, nic) if to_bridge else (nic, bridge)
        with os_errors_as_node_faults(identity):
            found: set[Resource] = set(self._rows.observe(identity.network, bridge, nic))
            if not to_bridge and self._rows.foreign_ports(bridge, nic):
                found = {each for each in found if not isinstance(each, UplinkBridge)}
            wanted = {each.same: each for each in desired if isinstance(each, LinkEntry)}
            of_target = {each.same: each for each in uplink.entries(target)}
            found |= {
                _as_wanted(of_target[same], wanted[same])
                for same in of_target.keys() & wanted.keys()
            }
            if to_bridge:
                found |= set(outdated(wanted.values(), of_target.values()))
            found |= set(uplink.entries(other))
            for each in desired:
                if isinstance(each, LinkUp) and (link := uplink.link(each.link)):
                    names = [name for name, _ in each.settings]
                    settings = uplink.settings(self._sysctls, each.link, names)
                    found.add(LinkUp(each.link, link.up, settings))
        return frozenset(found)

    async def apply(self, identity: ProviderIdentity, plan: Plan) -> None:
        """Carry out the steps one after the other. Raise NotReady or NodeFault."""
        for of_ovsdb, steps in groupby(plan, key=lambda step: isinstance(step.resource, _OF_OVSDB)):
            if of_ovsdb:
                for step in steps:  # the NIC joins a bridge that has its link, or leaves it first
                    await self._rows.apply([step])
                    if isinstance(step.resource, UplinkPort) and step.verb is Verb.REMOVE:
                        solicit(step.resource.nic)
            else:
                with os_errors_as_node_faults(identity):
                    for step in steps:
                        uplink.carry_out(step, self._sysctls)

    def capture(self, intent: Intent) -> Found:
        """Return what the NIC has that can be moved, and what its bridge has already.

        Raise Unsafe, in words, if it must not be moved, NodeFault if the kernel cannot be asked.
        """
        network, nic, bridge = intent.network, intent.nic, intent.bridge
        with os_errors_as_node_faults(ProviderIdentity(network)):
            self._rows.require_free(network, bridge, nic)
            link = uplink.require_movable(nic, _tagged(intent))
            if uplink.link(bridge) is not None and not self._rows.has_bridge(bridge):
                raise Unsafe(f"an interface {bridge} exists that is no bridge of Open vSwitch")
            entries = self.entries(nic, bridge)
            settings = self._settings(intent, entries)
            entries = tuple(each for each in entries if not each.is_of_router)
            listed = self._rows.chassis_mac(network)
            mac = listed or chassis_mac(link.mac, network)
        return Found(entries, link.mac, self._rows.datapath_type, mac, settings)

    def _settings(self, intent: Intent, entries: Sequence[LinkEntry]) -> Settings:
        """Return the settings of the NIC. Raise Unsafe where a bridge would not keep the entries.

        A NIC in a bridge takes no router advertisements; the setting that counts is its bridge's.
        """
        rows = self._rows.observe(intent.network, intent.bridge, intent.nic)
        joined = any(isinstance(each, UplinkPort) for each in rows)
        reader = intent.bridge if joined else intent.nic
        if any(map(_is_advertised, entries)) and not uplink.follows_routers(self._sysctls, reader):
            raise Unsafe(f"{intent.nic} {_NOT_FOLLOWED}")
        found = dict(uplink.settings(self._sysctls, intent.nic))
        found |= dict(uplink.settings(self._sysctls, reader, (ACCEPTS,)))
        return tuple(found.items())

    def entries(self, nic: str, *others: str) -> tuple[LinkEntry, ...]:
        """Return what the NIC and the other links have, as if the NIC had all of it."""
        found: dict[Key, LinkEntry] = {}
        for name in (nic, *others):
            for each in uplink.entries(name):
                found.setdefault(each.same, replace(each, link=nic))
        return tuple(found.values())

    def disputes(self, intent: Intent) -> tuple[str, ...]:
        """Return what others keep on the NIC that is left there, in words."""
        return uplink.unmovable(intent.nic, _tagged(intent))

    @staticmethod
    def mtu(nic: str) -> int:
        """Return the NIC's MTU in bytes, 0 without the NIC."""
        link = uplink.link(nic)
        return link.mtu if link else 0

    async def checks(self, intent: Intent) -> tuple[str, ...]:
        """Return who answers now, by the NIC or its bridge: gateways, routers, the API server.

        A gateway answers to the kernel. A router of an advertisement counts once the kernel has its
        route on the link.
        """
        links = (intent.nic, intent.bridge)
        every = [(link, f"gateway {each}") for link in links for each in uplink.gateways(link)]
        every += [(link, f"router {each}") for link in links for each in uplink.routers(link)]
        every.append((intent.nic, f"API server {self._api}"))
        return tuple([check for link, check in every if await self._answers(link, check)])

    async def silent(self, link: str, checks: Sequence[str]) -> str:
        """Return the first of the checks that does not answer by the link; empty if all do."""
        for each in checks:
            if not await self._answers(link, each):
                return each
        return ""

    @staticmethod
    async def _answers(link: str, check: str) -> bool:
        *_, host, last = check.split()
        if check.startswith("router"):
            return await uplink.has_router(link, last, _ANSWER)
        if not check.startswith("API"):
            return await uplink.answers(link, last, _ANSWER)
        try:
            async with asyncio.timeout(_ANSWER):
                _, writer = await asyncio.open_connection(host, last)
        except OSError:  # TimeoutError is one
            return False
        writer.close()
        return True


def _tagged(intent: Intent) -> tuple[int, ...]:
    """Return the VLANs that the NIC carries with a tag."""
    return tuple(number for number in intent.trunks if number)


def _is_advertised(entry: LinkEntry) -> bool:
    """Return whether a router's advertisements keep it: of IPv6, with a lifetime."""
    return entry.is_of_router or (entry.lifetime is not None and not entry.is_ipv4)


def _as_wanted(entry: LinkEntry, wanted: LinkEntry) -> LinkEntry:
    """Return the entry with the lifetime that is wanted, where its own is as good as that."""
    same = entry.lifetime is not None and entry.lifetime.is_like(wanted.lifetime)
    return replace(entry, lifetime=wanted.lifetime) if same else entry
