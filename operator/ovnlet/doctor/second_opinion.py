"""A second opinion: pyroute2 and ovsdbapp read each pod's network, and the agent must see the same.

Their codecs share nothing with ours. A difference is an error of one of them: a finding, and a
report for the project. What changes meanwhile is read again before it counts.
"""

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from ovnlet import client
from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, ok
from ovnlet.drivers.linux.namespaces import entered, opened

_AREA = "second opinion"
_FIX = "report this with `ovnlet bundle`: one of the two reads it wrongly"
# Looks at a pod before a difference counts, and seconds between them.
_LOOKS, _BETWEEN = 3, 0.5
_MAIN, _SCOPE_LINK = 254, 253
_CONNECT = 3
Json = dict[str, Any]


async def examine(settings: Settings) -> list[Finding]:
    """Compare all attachments. A finding names one thing that the two see differently."""
    try:
        _, listed = await client.ask(settings.cni_socket, "/v1/attachments")
    except NotReady as error:
        return [fault(_AREA, str(error), "without an agent there is nothing to compare")]
    pods = sorted({(one["namespace"], one["pod"]) for one in listed if one["netns"]})
    found: list[Finding] = []
    for namespace, pod in pods:
        found += await _pod(settings, f"{namespace}/{pod}")
    return found or [ok(_AREA, f"pyroute2 and ovsdbapp see {len(pods)} pods as the agent does")]


async def _pod(settings: Settings, pod: str) -> list[Finding]:
    """Return the differences of a pod that are there at each of three looks."""
    differences: set[str] = set()
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_BETWEEN)
        status, shown = await client.ask(settings.cni_socket, f"/v1/attachments/{pod}")
        if status != HTTPStatus.OK:  # deleted meanwhile
            return []
        try:
            seen = await asyncio.to_thread(_all_differences, settings, shown)
        except (OvnletError, OSError) as error:
            seen = {f"cannot be read: {error}"}
        differences = seen & differences if look else seen
        if not differences:
            return []
    return [fault(_AREA, f"{pod}: {text}", _FIX) for text in sorted(differences)]


def _all_differences(settings: Settings, shown: list[Json]) -> set[str]:
    return {text for one in shown for text in _differences(settings, one)}


def _differences(settings: Settings, shown: Json) -> Iterator[str]:
    """Yield what the two see differently of one attachment."""
    ours = _ours(shown)
    theirs = {**_of_kernel(shown["netns"], shown["ifname"]), **_of_switch(settings, shown)}
    for kind, values in ours.items():
        other = theirs.get(kind, frozenset())
        for value in sorted(values - other, key=str):
            yield f"{kind} {value} is seen by the agent alone"
        for value in sorted(other - values, key=str):
            yield f"{kind} {value} is seen by {_WHO[kind]} alone"


_WHO: Mapping[str, str] = {
    **dict.fromkeys(("link", "address", "route"), "pyroute2"),
    "external_ids": "ovsdbapp",
}


def _ours(shown: Json) -> dict[str, frozenset[object]]:
    """Return what the agent observes, as sets of comparable values."""
    found: dict[str, set[object]] = {name: set() for name in _WHO}
    for resource in shown.get("resources", []):
        seen = resource["observed"]
        if seen is None:
            continue
        match resource["kind"]:
            case "Veth":
                found["link"].add((seen["mac"], seen["mtu"], seen["pod_up"]))
            case "Address":
                found["address"].add(seen["ip"])
            case "Route":
                found["route"].add((seen["destination"], seen["via"], seen["source"]))
            case "Port":
                found["external_ids"] |= set(seen["external_ids"].items())
            case _:  # what no library reads, such as an offload
                pass
    return {name: frozenset(values) for name, values in found.items()}


def _of_kernel(netns: str, ifname: str) -> dict[str, frozenset[object]]:
    """Return what pyroute2 reads in a pod's network namespace."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - slow to import, and used here alone

    with opened(netns) as fd, entered(fd), IPRoute() as kernel:
        links = [link for link in kernel.get_links() if link.get("ifname") == ifname]
        indexes = {link["index"] for link in links}
        addresses = [
            f"{one.get('address')}/{one['prefixlen']}"
            for one in kernel.get_addr()
            if one["index"] in indexes and one["scope"] != _SCOPE_LINK
        ]
        routes = [
            _route(one)
            for one in kernel.get_routes(table=_MAIN)
            if one["proto"] == PROTOCOL and one.get("oif") in indexes
        ]
    return {
        "link": frozenset(
            (one.get("address"), one.get("mtu"), bool(one["flags"] & 1)) for one in links
        ),
        "address": frozenset(addresses),
        "route": frozenset(routes),
    }


def _route(one: Any) -> tuple[str, str | None, str | None]:
    anywhere = "0.0.0.0" if one["family"] == 2 else "::"  # noqa: S104 - the default route
    via = one.get("gateway") or (one.get("via") or {}).get("addr")
    return f"{one.get('dst') or anywhere}/{one['dst_len']}", via, one.get("prefsrc")


def _of_switch(settings: Settings, shown: Json) -> dict[str, frozenset[object]]:
    """Return what ovsdbapp reads of the interface, of the keys that the agent shows."""
    names = {
        (resource["observed"] or {}).get("name")
        for resource in shown.get("resources", [])
        if resource["kind"] == "Port"
    }
    keys = {
        key
        for resource in shown.get("resources", [])
        if resource["kind"] == "Port"
        for key in (resource["observed"] or {}).get("external_ids", {})
    }
    found = {
        (key, value)
        for row in _interfaces(settings.ovsdb)
        if row["name"] in names
        for key, value in row["external_ids"].items()
        if key in keys
    }
    return {"external_ids": frozenset(found)}


def _interfaces(database: str) -> list[Json]:
    """Return name and external_ids of all interfaces. Raise NotReady if ovsdb-server is away."""
    from ovsdbapp.backend.ovs_idl import connection  # noqa: PLC0415 - slow to import
    from ovsdbapp.schema.open_vswitch import impl_idl  # noqa: PLC0415

    idl = connection.OvsdbIdl.from_server(f"unix:{database}", "Open_vSwitch")
    joined = connection.Connection(idl=idl, timeout=_CONNECT)
    try:
        api = impl_idl.OvsdbIdl(joined)
        return list(api.db_list("Interface", columns=["name", "external_ids"]).execute())
    except Exception as error:
        raise NotReady(f"ovsdbapp: {error}") from error
    finally:
        joined.stop(timeout=_CONNECT)
