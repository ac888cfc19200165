"""What the passes work with: the objects as last heard of, the northbound database, and the ways to tell."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import Claim, NodeClaim, Owner, StatefulSet, Workload
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet, SubnetObject
from ovnlet.core.plan import Step
from ovnlet.core.resources.northbound import Row, Rows, SwitchPort
from ovnlet.core.settings import ControllerSettings

# What a pass is about: ("pod", namespace, name), ("subnet", "", name), ("node", "", name) or NETWORK.
Key = tuple[str, str, str]
NETWORK: Key = ("network", "", "")
T_co = TypeVar("T_co", covariant=True)


class Objects(Protocol[T_co]):
    """All of one kind."""

    def get(self, owner: Owner, /) -> T_co | None: ...
    def __iter__(self) -> Iterator[T_co]: ...


class Northbound(Protocol):
    """OVN's northbound database."""

    @property
    def connected(self) -> bool: ...
    def port(self, name: str, /) -> Seen | None: ...
    def ports(self, switch: str, /) -> Iterable[SwitchPort]: ...
    def every_port(self) -> Iterable[SwitchPort]: ...
    def has(self, *, switch: str = "", router: str = "") -> bool: ...
    def subnet(self, switch: str, router: str, /) -> Rows: ...
    def network(self, router: str, /) -> Rows: ...
    def holder(self, address: Address | str, besides: str, /) -> str | None: ...
    async def apply(self, plan: Sequence[Step[Row]], guard: str | None = None, /) -> None: ...


class Writer(Protocol):
    """The API server's objects."""

    async def annotate(self, claim: Claim, annotations: Mapping[str, str], /) -> None: ...
    async def status(self, subnet: SubnetObject, status: Mapping[str, Any], /) -> None: ...
    async def finalizers(self, subnet: SubnetObject, finalizers: Sequence[str], /) -> None: ...


class Record(Protocol):
    """Makes an Event; returns at once."""

    def __call__(
        self,
        subject: Claim | SubnetObject,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        /,
    ) -> None: ...


@dataclass(slots=True)
class ControllerContext:
    """``later(seconds, key)`` asks for a pass then; ``usable`` are the Subnets that are in force."""

    settings: ControllerSettings
    northbound: Northbound
    writer: Writer
    record: Record
    pods: Objects[Workload]
    nodes: Objects[NodeClaim]
    subnets: Objects[SubnetObject]
    stateful_sets: Objects[StatefulSet]
    pools: Objects[IpPool]
    add: Callable[[Key], None]
    later: Callable[[float, Key], None]
    join: Subnet
    usable: dict[str, Subnet]
