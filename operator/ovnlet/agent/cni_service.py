"""What a container runtime asks, answered by the loop: fulfils the Protocol of ``ovnlet_cni``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovnlet.core.errors import (
    Invalid,
    NodeFault,
    NotConverged,
    NotReady,
    OvnletError,
    Taken,
    UnknownSandbox,
)
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step
from ovnlet.core.resources import Address, CompetingRoute, Network, Route, Veth
from ovnlet.drivers.ovs.health import Verdict
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.scopes.pod import Records
from ovnlet_cni.errors import CniError, Code
from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedInterface, AttachedIp, AttachedRoute

# Each stands for its subclasses too. The words say who must do what.
ANSWERS: dict[type[OvnletError], tuple[Code, str]] = {
    Invalid: (Code.INVALID_CONFIG, "correct the annotation; kubelet tries again by itself"),
    NotReady: (
        Code.TRY_AGAIN,
        "kubelet tries again by itself; `ovnlet pods` on the node shows what is awaited",
    ),
    UnknownSandbox: (Code.UNKNOWN_CONTAINER, "nothing of this sandbox is left on the node"),
    Taken: (
        Code.INVALID_CONFIG,
        "another plugin or person made the interface; remove it, or the plugin that makes it",
    ),
    NodeFault: (Code.IO_FAILURE, "the kernel or OVS refused; the agent's log has the step"),
    NotConverged: (Code.INTERNAL, "the agent's log has the plan that is left; report it"),
}


class CniService:
    """``verdict`` names what keeps this node from attaching pods, or is None."""

    def __init__(
        self, attaching: Attaching, records: Records, verdict: Callable[[], Verdict | None]
    ) -> None:
        self._attaching, self._records, self._verdict = attaching, records, verdict

    async def add(self, request: Attach) -> Attached:
        attachment = Attachment(
            container_id=request.container_id,
            ifname=request.ifname,
            netns=request.netns,
            namespace=request.namespace,
            pod=request.pod,
            uid=request.uid,
            provider=request.provider,
            boot_id=self._records.boot_id,
            sequence=self._records.next_sequence(),
            routes=tuple((str(route.dst), str(route.gw)) for route in request.routes if route.gw),
        )
        with _as_cni_error("ADD"):
            outcome = await self._attaching.add(attachment)
        return rendered(outcome.observed, request.netns)

    async def delete(self, request: Detach) -> None:
        attachment = Attachment.of_deletion(
            request.container_id, request.ifname, self._records.boot_id
        )
        with _as_cni_error("DEL"):
            await self._attaching.delete(attachment)

    async def check(self, request: Attach) -> None:
        with _as_cni_error("CHECK"):
            await self._attaching.check((request.container_id, request.ifname), _listed(request))

    async def gc(self, valid: frozenset[tuple[str, str]]) -> None:
        with _as_cni_error("GC"):
            await self._attaching.collect(valid)

    async def status(self) -> None:
        if verdict := self._verdict():
            code, running = (
                (Code.LIMITED, "may be cut off") if verdict.limited else (Code.UNAVAILABLE, "go on")
            )
            raise CniError(
                code, verdict.reason, f"new pods wait until this is over; running ones {running}"
            )


def rendered(observed: Network, netns: str) -> Attached:
    """The CNI result of what was observed: both ends of the pair, addresses with their gateways, routes."""
    veth = next(resource for resource in observed if isinstance(resource, Veth))
    routes = sorted((r for r in observed if isinstance(r, Route)), key=_route_order)
    gateways = {
        route.destination.version: route.via for route in routes if route.destination.prefixlen == 0
    }
    addresses = sorted(
        (r.ip for r in observed if isinstance(r, Address)), key=lambda ip: ip.version
    )
    return Attached(
        interfaces=(
            AttachedInterface(veth.pod, veth.mac, veth.mtu, netns),
            AttachedInterface(veth.host, "", veth.mtu),
        ),
        ips=tuple(AttachedIp(address, gateways.get(address.version), 0) for address in addresses),
        routes=tuple(
            AttachedRoute(route.destination, route.via) for route in routes if route.via is not None
        ),
    )


def _listed(request: Attach) -> Callable[[Step], bool]:
    """Whether a step is about something that prevResult lists.

    The port and the links always are; a plugin later in the chain may have taken an address or a route away.
    """
    previous = request.prev_result or Attached()
    ours = {
        index
        for index, link in enumerate(previous.interfaces)
        if link.sandbox and link.name == request.ifname
    }
    if not ours:
        raise CniError(
            Code.INVALID_CONFIG,
            f"prevResult does not list {request.ifname}",
            "pass the result of its ADD",
        )
    addresses = {ip.address for ip in previous.ips if ip.interface is None or ip.interface in ours}
    networks = {address.network for address in addresses} | {route.dst for route in previous.routes}

    def listed(step: Step) -> bool:
        match step.resource:
            case Address(ip=ip):
                return ip in addresses
            case Route(destination=destination) | CompetingRoute(destination=destination):
                return destination in networks
            case _:
                return True

    return listed


def _route_order(route: Route) -> tuple[int, int, str]:
    return route.destination.version, route.destination.prefixlen, str(route.destination)


@contextmanager
def _as_cni_error(verb: str) -> Iterator[None]:
    try:
        yield
    except OvnletError as error:
        code, advice = next(answer for kind, answer in ANSWERS.items() if isinstance(error, kind))
        raise CniError(code, f"{verb}: {error}", advice) from error
