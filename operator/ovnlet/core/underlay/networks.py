"""Kube-OVN's ProviderNetwork and Vlan, and what they want of one node.

A network that cannot be done safely is refused in words, and nothing of it is done.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ovnlet.core.errors import Unsafe
from ovnlet.core.labels import selects

# IFNAMSIZ is 16 with the terminating zero.
_LONGEST = 15
_LABEL = "provider-network.kubernetes.io"
# Labels of a Node, which kube-ovn-cni writes as well: by them Kube-OVN's controller says that the
# node is ready, and pods have their MTU. ERROR is an annotation, with the reason where it is not.
READY, INTERFACE, MTU, EXCLUDE, ERROR = "ready", "interface", "mtu", "exclude", "err_mesg"
# The Vlan's provider where it names none: Kube-OVN's default network.
_DEFAULT = "provider"


@dataclass(frozen=True, slots=True)
class ProviderNetwork:
    """An object of Kube-OVN's API. ``spec`` and ``status`` are as the API server has them."""

    kind: ClassVar[str] = "ProviderNetwork"
    api_version: ClassVar[str] = "kubeovn.io/v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    generation: int = 0
    deleting: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[str, str]:
        """The key in a store: no namespace, and the name."""
        return ("", self.name)


@dataclass(frozen=True, slots=True)
class Vlan:
    """A Vlan of a provider network; ID 0 is untagged. ``created`` is its creation time."""

    name: str
    object_uid: str
    number: int
    provider: str
    created: str = ""

    @property
    def owner(self) -> tuple[str, str]:
        """The key in a store: no namespace, and the name."""
        return ("", self.name)


@dataclass(frozen=True, slots=True)
class ProviderIdentity:
    """A provider network on this node."""

    network: str

    @property
    def key(self) -> tuple[str, str]:
        """No container has an empty ID."""
        return ("", f"provider-{self.network}")

    @property
    def called(self) -> tuple[str, str]:
        """The name for display."""
        return ("node", f"provider-{self.network}")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a provider network wants of this node.

    ``trunks`` are the VLAN IDs of the NIC's port, sorted. ``version`` changes with the object's
    spec: what failed is not tried again before.
    """

    network: str
    nic: str
    bridge: str
    trunks: tuple[int, ...] = (0,)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """All provider networks for one node: to do, refused with the reason, and excluded."""

    intents: Mapping[str, Intent] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()


def provider_network(body: Mapping[str, Any]) -> ProviderNetwork:
    """Read a ProviderNetwork. Its spec is not validated here."""
    metadata = body["metadata"]
    generation, deleting = int(metadata.get("generation") or 0), "deletionTimestamp" in metadata
    spec = body.get("spec") or {}
    name, uid, status = metadata["name"], metadata["uid"], body.get("status") or {}
    return ProviderNetwork(name, uid, generation, deleting, spec, status)


def vlan(body: Mapping[str, Any]) -> Vlan:
    """Read a Vlan: its ID and its provider, each also under its deprecated name."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    number = int(spec.get("id") or spec.get("vlanId") or 0)
    provider = str(spec.get("provider") or spec.get("providerInterfaceName") or _DEFAULT)
    created = metadata.get("creationTimestamp") or ""
    return Vlan(metadata["name"], metadata["uid"], number, provider, created)


def label(network: str, name: str) -> str:
    """Return the key of a Node's label or annotation of Kube-OVN's contract."""
    return f"{network}.{_LABEL}/{name}"


def is_label(name: str) -> bool:
    """Return whether it is a label, or an annotation, of a provider network."""
    return name.partition("/")[0].endswith(f".{_LABEL}")


def of_node(
    node: str,
    labels: Mapping[str, str],
    networks: Iterable[ProviderNetwork],
    vlans: Iterable[Vlan],
    held: Mapping[str, str],
) -> Wanted:
    """Return what the networks want of this node.

    ``held`` are the networks that have a NIC already, by the NIC: each keeps it against another.
    """
    known = list(vlans)
    intents: dict[str, Intent] = {}
    refused: dict[str, str] = {}
    excluded: set[str] = set()
    users = dict(held)
    for each in sorted(networks, key=lambda network: network.name):
        if each.deleting:
            continue
        if excludes(each, node, labels):
            excluded.add(each.name)
            continue
        try:
            intent = _intent(each, node, known)
            _refuse_second_user(intent, users)
        except Unsafe as error:
            refused[each.name] = str(error)
        else:
            intents[each.name] = intent
    return Wanted(intents, refused, frozenset(excluded))


def excludes(network: ProviderNetwork, node: str, labels: Mapping[str, str]) -> bool:
    """Return whether this node is not the network's. With a selector `excludeNodes` is ignored."""
    selector = network.spec.get("nodeSelector")
    if selector:
        return not selects(selector, labels)
    return node in (network.spec.get("excludeNodes") or ())


def _intent(network: ProviderNetwork, node: str, vlans: Iterable[Vlan]) -> Intent:
    name, spec = network.name, network.spec
    nic, bridge = _interface(spec, node), f"br-{name}"
    if not nic or len(nic) > _LONGEST or "/" in nic or nic.split() != [nic]:
        raise Unsafe(f"ProviderNetwork {name}: {nic!r} is not the name of an interface")
    if len(bridge) > _LONGEST:
        raise Unsafe(f"ProviderNetwork {name}: the name of its bridge, {bridge}, is too long")
    for refused in _not_done(spec, nic):
        raise Unsafe(f"ProviderNetwork {name}: {refused}")
    trunks = {0, *(each.number for each in vlans if each.provider == name)}
    return Intent(name, nic, bridge, tuple(sorted(trunks)), _version(network))


def _interface(spec: Mapping[str, Any], node: str) -> str:
    """Return the NIC of the first entry that names this node, else the default."""
    for each in spec.get("customInterfaces") or ():
        if node in (each.get("nodes") or ()):
            return str(each.get("interface") or "")
    return str(spec.get("defaultInterface") or "")


def _not_done(spec: Mapping[str, Any], nic: str) -> Iterator[str]:
    if spec.get("exchangeLinkName"):
        yield f"exchangeLinkName is not supported: the host configures {nic} by its name"
    if spec.get("autoCreateVlanSubinterfaces") and "." in nic:
        yield f"autoCreateVlanSubinterfaces is not supported: the host must make {nic} at boot"
    if spec.get("preserveVlanInterfaces") or spec.get("vlanInterfaces"):
        yield (
            "preserveVlanInterfaces and vlanInterfaces are not supported: "
            "the addresses of VLAN links are not moved"
        )


def _version(network: ProviderNetwork) -> str:
    return f"{network.object_uid}/{network.generation}"


def _refuse_second_user(intent: Intent, users: dict[str, str]) -> None:
    """Raise Unsafe if another network has the NIC; else give it to this one."""
    user = users.setdefault(intent.nic, intent.network)
    if user != intent.network:
        raise Unsafe(
            f"ProviderNetwork {intent.network}: {intent.nic} belongs to ProviderNetwork {user}"
        )
