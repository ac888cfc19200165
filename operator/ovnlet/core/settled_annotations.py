"""Decide which annotations are in force after an edit.

Fixed values stay for the life of the sandbox. Live values change with the pod's annotations; an
invalid edit leaves the last good value in force.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ovnlet.core.allocation import Allocation
from ovnlet.core.annotations import (
    FIRST,
    FIXED,
    REPAIR,
    ROUTING,
    SUBNET_GATEWAY,
    key,
    keys,
    live_keys,
    parse,
    relevant,
)
from ovnlet.core.errors import Invalid


def settle(
    good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str
) -> Allocation:
    """Return the allocation in force: fixed values from ``good``, valid live values from ``now``.

    An edit of a fixed value and an invalid live value are among its ``problems``. Raises NotReady
    and Invalid as ``annotations.parse`` does.
    """
    if good is None or good == relevant(now, provider):
        return parse(now, provider, ifname)
    changed = []
    for name in FIXED:
        before, after = good.get(key(provider, name)), now.get(key(provider, name))
        if before != after:
            allowed = f"{before!r}, fixed for this sandbox; another value takes effect in a new pod"
            changed.append(Invalid(key(provider, name), after, allowed))
    edited = parse(_merge(good, now, provider, keys(provider, FIXED)), provider, ifname)
    in_force = parse(usable(good, now, provider, ifname), provider, ifname)
    return replace(in_force, problems=(*changed, *edited.problems))


def usable(
    good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str
) -> dict[str, str]:
    """Return the annotations to store: ``now`` with unusable values replaced from ``good``."""
    if good == relevant(now, provider):
        return relevant(now, provider)
    before, fixed = dict(good or {}), () if good is None else keys(provider, FIXED)
    problems = {
        problem.key
        for problem in parse(_merge(before, now, provider, fixed), provider, ifname).problems
    }
    invalid = [name for name in (REPAIR, *live_keys(provider)) if name in problems]
    routes = (SUBNET_GATEWAY, *keys(provider, ROUTING))
    # An old value that is put back may not fit a new value of another key, so try all routes last.
    for restored in ((), invalid, (*invalid, *routes)):
        text = _merge(before, now, provider, (*fixed, *restored))
        if not parse(text, provider, ifname).problems:
            break
    return text


def is_withdrawn(now: Mapping[str, str], provider: str) -> bool:
    """Return whether a pod's annotations have no allocation of a further network.

    The controller removes them when the pod lists the network no more. The runtime's DEL of the
    interface may come later: until then the interface stays as it is.
    """
    return provider != FIRST and not any(name in now for name in keys(provider, FIXED))


def kept(good: Mapping[str, str] | None, now: Mapping[str, str], provider: str) -> dict[str, str]:
    """Return ``now``, with all that was good of a network that is withdrawn."""
    return {**(good or {}), **now} if is_withdrawn(now, provider) else dict(now)


def lost_gateway(allocation: Allocation, provider: str) -> Invalid | None:
    """Return the problem for which a family of addresses has no default route, or None."""
    families = {address.version for address in allocation.addresses}
    if not allocation.default_route or families <= {each.version for each in allocation.gateways}:
        return None
    names = (SUBNET_GATEWAY, key(provider, "gateway"))
    return next((problem for problem in allocation.problems if problem.key in names), None)


def _merge(
    good: Mapping[str, str], now: Mapping[str, str], provider: str, kept: Collection[str]
) -> dict[str, str]:
    """Return ``now``, except that the ``kept`` keys have their values from ``good``."""
    return {
        **{name: value for name, value in relevant(now, provider).items() if name not in kept},
        **{name: value for name, value in good.items() if name in kept},
    }
