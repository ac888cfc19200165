"""Which Subnets can be used, and why the others cannot."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ovnlet.controller.context import ControllerContext
from ovnlet.core import topology
from ovnlet.core.errors import Taken
from ovnlet.core.ipam import subnets
from ovnlet.core.ipam.subnets import Range, Subnet, SubnetObject, Unusable
from ovnlet.core.resources.northbound import Switch
from ovnlet.core.underlay import localnets


@dataclass(frozen=True, slots=True)
class Verdict:
    """A Subnet that can be used, or why it cannot.

    ``taken`` is whether the reason is a row of that name that somebody else made.
    """

    subnet: Subnet | None
    why: str = ""
    taken: bool = False

    @property
    def reason(self) -> str:
        """The reason of the Event."""
        return "NameTaken" if self.taken else "SubnetInvalid"


class Verdicts:
    """The validation of Subnets, against each other and against what is there."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context

    def update_usable(self) -> None:
        """Validate all specifications together. Of two that clash, the older Subnet is accepted."""
        context, accepted = self._context, [self._context.join]
        for body in sorted(context.subnets, key=lambda each: (each.created, each.name)):
            verdict = self.of(body, accepted)
            if verdict.subnet is not None:
                accepted.append(verdict.subnet)
                context.usable[body.name] = verdict.subnet
            elif verdict.taken:
                context.usable.pop(body.name, None)
            elif kept := context.usable.get(body.name):
                accepted.append(kept)
        for name in context.usable.keys() - {body.name for body in context.subnets}:
            del context.usable[name]

    def of(self, body: SubnetObject, others: Iterable[Subnet] | None = None) -> Verdict:
        """Validate a specification, alone and against the ``others``; by default the older ones."""
        context = self._context
        try:
            subnet = subnets.read(body.name, body.spec)
            subnet = localnets.placed(subnet, context.vlans, context.provider_networks)
        except Unusable as unusable:
            return Verdict(None, str(unusable))
        subnet = replace(subnet, reserved=self._reserved(subnet))
        others = self._others(body) if others is None else others
        try:
            why = subnets.clash(subnet, others) or self._why_not_moved(subnet)
        except Taken as taken:
            return Verdict(None, str(taken), taken=True)
        return Verdict(None, why) if why else Verdict(subnet)

    def _reserved(self, subnet: Subnet) -> tuple[Range, ...]:
        """Return the addresses of the Subnet's valid IPPools: other pods do not get them."""
        pools = sorted(self._context.pools, key=lambda pool: pool.name)
        return tuple(
            each for pool in pools if pool.why_not(subnet) is None for each in pool.ranges()
        )

    def _others(self, body: SubnetObject) -> list[Subnet]:
        """Return the join subnet and the Subnets in force that are older than this one."""
        context = self._context
        older = [o for o in context.subnets if (o.created, o.name) < (body.created, body.name)]
        return [context.join, *(context.usable[o.name] for o in older if o.name in context.usable)]

    def _why_not_moved(self, subnet: Subnet) -> str | None:
        """Return why a Subnet cannot have these prefixes; None if it can.

        The addresses of running pods are fixed, so a switch in use keeps its prefixes. Raises Taken
        if a row of its name was not made by ovnlet.
        """
        northbound, router = self._context.northbound, self._context.settings.cluster_router
        if subnet.name == self._context.join.name:
            return f"the name {subnet.name} is reserved for the network of the nodes"
        rows = northbound.subnet(subnet.name, router)
        have = [row for row in rows if isinstance(row, Switch)]
        if not have:
            return None
        want = [row for row in topology.subnet(subnet, router) if isinstance(row, Switch)]
        before, after = (
            {k: v for k, v in (*rows[0].config,) if k != "exclude_ips"} for rows in (have, want)
        )
        user = next(iter(northbound.ports(subnet.name)), None)
        if before != after and user is not None:
            pod = user.label("pod")
            return f"cidrBlock cannot be changed while pods have addresses of it, such as {pod}"
        return None
