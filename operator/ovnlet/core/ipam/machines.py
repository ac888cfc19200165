"""A virtual machine, and the pods that launch it as one claim: a migration or a restart has two."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ovnlet.core.ipam.claims import Owner, Workload


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """What the controller keeps of a VirtualMachine: while it is there, so are its addresses."""

    kind: ClassVar[str] = "VirtualMachine"
    api_version: ClassVar[str] = "kubevirt.io/v1"

    namespace: str
    name: str
    object_uid: str

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)


def merged(launchers: Iterable[Workload]) -> Workload | None:
    """Return what the machine claims; None without a pod. It has ended when all of them have.

    The newest pod that runs leads. If it is the target of a migration, the machine runs on the node
    of the one before as well, until that one has ended: KubeVirt lets the source end after a
    success, and the target after a failure. Annotations of all are there, those of the newest in
    front: each of them has the machine's addresses.
    """
    ordered = sorted(launchers, key=lambda each: (each.created, each.name))
    running = [each for each in ordered if not each.finished and each.node]
    if not ordered:
        return None
    lead = (running or ordered)[-1]
    texts: dict[str, str] = {}
    for each in (*ordered, lead):
        texts |= each.annotations
    source = next((each for each in running[-2::-1] if each.node != lead.node), None)
    nodes = (source.node, lead.node) if lead.target and source is not None else ()
    return replace(lead, annotations=texts, nodes=nodes)
