"""The order of a plan's steps by which a port can send and receive at every moment.

A plan removes before it ensures. Between the two there may be a transaction of OVSDB. What packets
need meanwhile goes last instead: addresses of which only the flag changes, and foreign routes in
place of ours. That is what a take-over from kube-ovn-cni finds in every pod.
"""

from dataclasses import replace

from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import Address, CompetingRoute, Route

# IPv6 joins routes of one destination and metric: such a route must go before ours comes.
_LOWEST_OF_OURS = 512


def seamless(plan: Plan) -> Plan:
    """Return the steps with those last that would leave the port without an address or route.

    The removal of an address and its addition with another flag become one step.
    """
    came = {
        (step.resource.pod, step.resource.ip)
        for step in plan
        if step.verb is Verb.ENSURE and isinstance(step.resource, Address)
    }
    changed = {
        (step.resource.pod, step.resource.ip): step.resource
        for step in plan
        if step.verb is Verb.REMOVE and isinstance(step.resource, Address)
    }
    changed = {key: was for key, was in changed.items() if key in came}
    first: list[Step] = []
    last: list[Step] = []
    for step in plan:
        match step.resource:
            case Address() as address if was := changed.get((address.pod, address.ip)):
                if step.verb is Verb.ENSURE:
                    last.append(replace(step, was=was))
            case CompetingRoute() as route if not _joins(route):
                last.append(step)
            case _:
                first.append(step)
    at = 1 + max((n for n, step in enumerate(first) if _is_route(step)), default=len(first) - 1)
    return (*first[:at], *last, *first[at:])


def _joins(route: CompetingRoute) -> bool:
    return route.destination.version == 6 and route.metric >= _LOWEST_OF_OURS


def _is_route(step: Step) -> bool:
    return step.verb is Verb.ENSURE and isinstance(step.resource, Route)
