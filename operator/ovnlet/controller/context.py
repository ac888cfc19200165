"""What every pass of the controller works with: objects, the northbound database, and writers.

The protocols name what a pass may use, so that no pass depends on a driver or on the API client.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import Claim, NodeClaim, Owner, StatefulSet, Workload
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.ipam.definitions import Definition
from ovnlet.core.ipam.machines import VirtualMachine
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet, SubnetObject
from ovnlet.core.plan import Step
from ovnlet.core.resources.northbound import Row, Rows, SwitchPort
from ovnlet.core.services import ServiceObject
from ovnlet.core.settings import ControllerSettings
from ovnlet.core.underlay.networks import ProviderNetwork, Vlan

# What a pass is for: ("pod", namespace, name of the pod, or name/provider for a further network),
# ("service", namespace, name), ("subnet", "", name),
# ("node", "", name), ("provider", "", name of a ProviderNetwork), NETWORK, or ("pools", "", name
# of a Subnet).
Key = tuple[str, str, str]
NETWORK: Key = ("network", "", "")
T_co = TypeVar("T_co", covariant=True)


class Objects(Protocol[T_co]):
    """All API objects of one kind, as last reported."""

    def get(self, owner: Owner, /) -> T_co | None:
        """Return the object of this namespace and name; None if there is none."""

    def __iter__(self) -> Iterator[T_co]:
        """Iterate over all objects."""


class Northbound(Protocol):
    """A copy of OVN's northbound database, and the way to change it.

    While the database is away, the methods raise NotReady. They raise Taken if the row of that name
    was not made by ovnlet.
    """

    @property
    def connected(self) -> bool:
        """Whether the copy is complete and current."""

    def port(self, name: str, /) -> Seen | None:
        """Return a logical switch port; None if there is none."""

    def ports(self, switch: str, /) -> Iterable[SwitchPort]:
        """Return our ports of one logical switch, without the one to the router."""

    def every_port(self) -> Iterable[SwitchPort]:
        """Return our ports of all logical switches, without those to a router."""

    def has(self, *, switch: str = "", router: str = "", group: str = "") -> bool:
        """Return whether the logical switch, the router or the load balancer group exists."""

    def switches(self) -> Iterable[str]:
        """Return the names of our logical switches."""

    def subnet(self, switch: str, router: str, /) -> Rows:
        """Return a subnet's rows: its switch, and both ports between switch and router."""

    def network(self, router: str, /) -> Rows:
        """Return the router's own row, its routes and policies, and the load balancer group."""

    def balancers(self, service: Owner, /) -> Rows:
        """Return a Service's load balancers."""

    def balanced(self) -> Iterable[str]:
        """Return the Service of each load balancer of ours, as `namespace/name`."""

    def holder(self, address: Address | str, besides: str, /) -> str | None:
        """Return another port than ``besides`` that has this IP or MAC address, if there is one."""

    async def apply(self, plan: Sequence[Step[Row]], guard: str | None = None, /) -> None:
        """Commit the steps in one transaction.

        With ``guard`` it fails unless that is still what OVN chose for the port
        (``dynamic_addresses``).
        """


class Writer(Protocol):
    """The way to write to API objects. A write to an object that is gone counts as done."""

    async def annotate(self, claim: Claim, annotations: Mapping[str, str | None], /) -> None:
        """Set annotations of a pod or a Node; None removes one."""

    async def status(
        self, of: SubnetObject | IpPool | ProviderNetwork, status: Mapping[str, Any], /
    ) -> None:
        """Merge into the status of an object."""

    async def finalizers(self, subnet: SubnetObject, finalizers: Sequence[str], /) -> None:
        """Replace a Subnet's finalizers."""


class Record(Protocol):
    """Records a Kubernetes Event."""

    def __call__(
        self,
        subject: Claim | SubnetObject | ServiceObject,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        /,
    ) -> None:
        """Record an Event about ``subject``. Returns at once."""


@dataclass(slots=True)
class ControllerContext:
    """Everything that the passes share.

    ``add(key)`` requests a pass now, ``add_pods`` those of all pods, ``later(seconds, key)`` one
    then. ``list_definitions`` requests a list of the definitions of networks,
    ``look_for_machines`` one of VirtualMachines if the cluster did not have that kind. ``join`` is
    the subnet of the nodes' own interfaces. ``usable`` holds the Subnets in force, by name.
    """

    settings: ControllerSettings
    northbound: Northbound
    writer: Writer
    record: Record
    pods: Objects[Workload]
    nodes: Objects[NodeClaim]
    subnets: Objects[SubnetObject]
    stateful_sets: Objects[StatefulSet]
    pools: Objects[IpPool]
    definitions: Objects[Definition]
    machines: Objects[VirtualMachine]
    vlans: Objects[Vlan]
    provider_networks: Objects[ProviderNetwork]
    add: Callable[[Key], None]
    add_pods: Callable[[], None]
    list_definitions: Callable[[], None]
    look_for_machines: Callable[[], None]
    later: Callable[[float, Key], None]
    join: Subnet
    usable: dict[str, Subnet]
