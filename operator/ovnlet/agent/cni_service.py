"""The service behind the CNI server: each verb becomes calls of the loop.

Implements the Protocol of ``ovnlet_cni.server``. It translates requests, results and errors, and
decides nothing about a network.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ovnlet.agent.tracing import untraced
from ovnlet.core.allocation import Allocation
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
from ovnlet.reconcile.records import Records
from ovnlet_cni import netconf
from ovnlet_cni.errors import CniError, Code, UnknownProvider
from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedInterface, AttachedIp, AttachedRoute

# An entry covers the subclasses of its error too. The text says who must do what.
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
    """The verbs of CNI for one node.

    ``verdict`` returns what keeps this node from attaching pods; None if nothing does. ``serves``
    returns whether a Subnet may have this provider. ``beside_kube_ovn`` means that Kube-OVN's
    controller gives the addresses. Without ``primary`` a pod's own network is another plugin's.
    ``traced`` returns the context of an ADD.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        attaching: Attaching,
        records: Records,
        verdict: Callable[[], Verdict | None],
        serves: Callable[[str], bool] = lambda _: True,
        *,
        beside_kube_ovn: bool = False,
        primary: bool = True,
        traced: Callable[[Attach], AbstractContextManager[None]] = untraced,
    ) -> None:
        self._traced = traced
        self._attaching, self._records, self._verdict = attaching, records, verdict
        self._serves, self._beside_kube_ovn, self._primary = serves, beside_kube_ovn, primary

    async def add(self, request: Attach) -> Attached:
        """Attach a sandbox's interface and return the CNI result. Raise CniError.

        Wait until OVN has installed the port, at most the agent's budget for an ADD.
        """
        attachment = self._attachment(request)
        with self._traced(request), _as_cni_error("ADD"):
            outcome = await self._attaching.add(attachment, lambda: self._refused(request))
        return rendered(outcome.observed, request.netns)

    async def allocate(self, request: Attach) -> Attached:
        """Return the addresses of an interface that another plugin makes. Raise CniError."""
        attachment = self._attachment(request)
        with _as_cni_error("ADD"):
            allocation = await self._attaching.allocate(attachment, lambda: self._refused(request))
        return allocated(allocation, request)

    async def release(self, request: Detach) -> None:
        """Forget the addresses of such an interface."""
        await self._attaching.release((request.container_id, request.ifname))

    async def delete(self, request: Detach) -> None:
        """Detach a sandbox's interface; succeed if nothing of it is there. Raise CniError."""
        attachment = Attachment.of_deletion(
            request.container_id, request.ifname, self._records.boot_id
        )
        with _as_cni_error("DEL"):
            await self._attaching.delete(attachment)

    async def check(self, request: Attach) -> None:
        """Raise CniError if what prevResult lists differs from what is on the node."""
        with _as_cni_error("CHECK"):
            await self._attaching.check((request.container_id, request.ifname), _listed(request))

    async def gc(self, valid: frozenset[tuple[str, str]]) -> None:
        """Remove dead sandboxes that the runtime does not list. Raise CniError if some remain."""
        with _as_cni_error("GC"):
            await self._attaching.collect(valid)

    async def status(self) -> None:
        """Raise CniError if this node cannot attach pods. Answer from memory, without waiting."""
        if verdict := self._verdict():
            code, running = (
                (Code.LIMITED, "may be cut off") if verdict.limited else (Code.UNAVAILABLE, "go on")
            )
            raise CniError(
                code, verdict.reason, f"new pods wait until this is over; running ones {running}"
            )

    def _attachment(self, request: Attach) -> Attachment:
        return Attachment(
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
            mtu=request.mtu,
        )

    def _refused(self, request: Attach) -> CniError | None:
        """Return why nothing will ever give this network's addresses; None while it may."""
        provider = request.provider
        if provider == "ovn":
            return None if self._primary else _unnamed()
        kind = netconf.of_interface(request.config).get("type")
        if self._beside_kube_ovn and kind == "ovnlet":
            return CniError(
                Code.INVALID_CONFIG,
                f"ADD: the network of provider {provider} has type ovnlet, and Kube-OVN's "
                "controller gives addresses to networks of type kube-ovn only",
                "write type kube-ovn in the NetworkAttachmentDefinition: ovnlet answers it too",
            )
        if self._serves(provider):
            return None
        message = f"ADD: no Subnet has provider {provider}, so nothing gives its addresses"
        return UnknownProvider(message, "create the Subnet, or correct the network's provider")


def _unnamed() -> CniError:
    return CniError(
        Code.INVALID_CONFIG,
        "ADD: the network configuration names no provider, and with pod_network: secondary a "
        "pod's own network is another plugin's",
        "write provider <name>.<namespace>.ovn in the NetworkAttachmentDefinition",
    )


def allocated(allocation: Allocation, request: Attach) -> Attached:
    """Return the result of an ADD for addresses alone.

    A gateway goes with the default route only, as kube-ovn-cni answers. The routes are those of the
    configuration and of the annotations.
    """
    gateways = {each.version: each for each in allocation.gateways if allocation.default_route}
    custom = (AttachedRoute(each.destination, each.via) for each in allocation.routes)
    return Attached(
        interfaces=(AttachedInterface(request.ifname, allocation.mac, None, request.netns),),
        ips=tuple(AttachedIp(each, gateways.get(each.version)) for each in allocation.addresses),
        routes=(*request.routes, *custom),
    )


def rendered(observed: Network, netns: str) -> Attached:
    """Return the CNI result of what was observed.

    It lists both ends of the veth pair, the addresses with their gateways, and the routes.
    """
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
    """Return the test whether a step is about something that prevResult lists.

    The port and the links always are; a plugin later in the chain may have removed an address or a
    route. Raise CniError where prevResult does not list the interface.
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
    """Return the sort key of a route: a result lists routes in the same order each time."""
    return route.destination.version, route.destination.prefixlen, str(route.destination)


@contextmanager
def _as_cni_error(verb: str) -> Iterator[None]:
    """Raise an error of the product as the CniError that its class stands for."""
    try:
        yield
    except OvnletError as error:
        code, advice = next(answer for kind, answer in ANSWERS.items() if isinstance(error, kind))
        raise CniError(code, f"{verb}: {error}", advice) from error
