"""The further networks of a pod: which it lists, and the claim that each of them makes.

The list is the annotation of the Network Plumbing Working Group's multi-network specification
(section 4.1), the network in place of the first that of Multus. The provider of a network, by which
the annotations and the port of its allocation are named, is Kube-OVN's.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ovnlet.core.annotations import key
from ovnlet.core.errors import Invalid
from ovnlet.core.ipam.claims import PROVIDER, NodeClaim, Owner, Workload
from ovnlet.core.ipam.definitions import Definition, base, is_addresses_only, provider_of
from ovnlet.core.ipam.subnets import Subnet

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
UNKNOWN = "NetworkUnknown"  # the reason of an Event
MOST = 64  # networks in one list; a pod with more is a mistake
# What a request may be spelled like: `<name>.<namespace>.kubernetes.io/ip_address.<interface>`.
_REQUESTS = ("ip_address", "mac_address")
_ITEM = re.compile(r"(?:([^/@\s]+)/)?([^/@\s]+)(?:@([^/@:\s]{1,15}))?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SHAPE = (
    "<namespace>/<name>@<interface>, comma separated, or a JSON list of objects with name, and "
    f"namespace, interface, ips and mac if wanted; at most {MOST}"
)


class Selection(NamedTuple):
    """One network that a pod lists, with what it asks for there.

    ``addresses_only`` is the definition's.
    """

    namespace: str
    name: str
    interface: str = ""
    ips: tuple[str, ...] = ()
    mac: str = ""
    addresses_only: bool = False

    @property
    def owner(self) -> Owner:
        """Namespace and name of its definition."""
        return (self.namespace, self.name)

    @property
    def provider(self) -> str:
        """The provider that Kube-OVN's controller gives to this network."""
        return provider_of(self.name, self.namespace, addresses_only=self.addresses_only)


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one pod by provider, and the reasons and messages of what cannot be claimed."""

    by_provider: Mapping[str, Workload] = field(default_factory=dict)
    problems: tuple[tuple[str, str], ...] = ()


Definitions = Callable[[Owner], Definition | None]


def selections(text: str, namespace: str, name: str = NETWORKS) -> tuple[Selection, ...]:
    """Return the networks in an annotation of a pod in that namespace. Raise Invalid."""
    text = text.strip()
    try:
        if text.startswith(("[", "{")):
            items = json.loads(text)
            found = [_of_json(each, namespace) for each in items]
        else:
            found = [_of_text(each.strip(), namespace) for each in text.split(",") if each.strip()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Invalid(name, text, _SHAPE) from error
    if len(found) > MOST:
        raise Invalid(name, text, _SHAPE)
    return tuple(found)


def _of_text(item: str, namespace: str) -> Selection:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(item)
    return _checked(Selection(match[1] or namespace, match[2], match[3] or ""))


def _of_json(item: Mapping[str, Any], namespace: str) -> Selection:
    """Return one object of a list. ``ips`` may have prefix lengths, which the Subnet decides."""
    ips = tuple(str(each).partition("/")[0] for each in item.get("ips") or ())
    chosen = str(item.get("namespace") or namespace)
    interface, mac = str(item.get("interface") or ""), str(item.get("mac") or "")
    return _checked(Selection(chosen, str(item["name"]), interface, ips, mac))


def _checked(found: Selection) -> Selection:
    if not (_LABEL.fullmatch(found.name) and _LABEL.fullmatch(found.namespace)):
        raise ValueError(found)
    return found


def claims(pod: Workload, definitions: Definitions) -> Claims:
    """Return what a pod claims: its own network, or one in its place, and those that it lists."""
    if not (pod.networks or pod.default_network):
        return Claims({PROVIDER: pod})
    problems: list[tuple[str, str]] = []
    first = _listed(pod.default_network, pod.namespace, DEFAULT_NETWORK, problems)[:1]
    rest = _listed(pod.networks, pod.namespace, NETWORKS, problems)
    # Of a list that cannot be read, running interfaces keep what they have.
    kept = _allocated(pod) if problems else ()
    found = {provider: _claim(pod, provider, None) for provider in kept}
    served = [_served(pod, each, definitions, problems) for each in (*first, *rest)]
    if not any(served[: len(first)]):
        found[PROVIDER] = _claim(pod, PROVIDER, None)
    for each, provider in _providers(pod, [each for each in served if each is not None]):
        if provider in found:
            problems.append(("NetworkListedTwice", _twice(each)))
        elif not _LABEL.fullmatch(provider) or each.addresses_only != is_addresses_only(provider):
            why = f"interface name {each.interface!r} cannot be part of an annotation's key"
            problems.append(("NetworkNotServed", f"network {'/'.join(each.owner)}: {why}"))
        else:
            found[provider] = _claim(pod, provider, each)
    return Claims(found, tuple(problems))


def _listed(
    text: str, namespace: str, name: str, problems: list[tuple[str, str]]
) -> tuple[Selection, ...]:
    try:
        return selections(text, namespace, name)
    except Invalid as problem:
        problems.append(("InvalidAnnotation", str(problem)))
        return ()


def _served(
    pod: Workload, each: Selection, definitions: Definitions, problems: list[tuple[str, str]]
) -> Selection | None:
    """Return the network as its definition has it; None if it is not ovnlet's to allocate for.

    One that the pod has an allocation of stays so whatever becomes of its definition: a running
    interface needs its port.
    """
    for known in (each, each._replace(addresses_only=True)):
        if _has(pod, known.provider) or _has(pod, _named(known)):
            return known
    found = definitions(each.owner)
    if found is None:
        why = f"network {'/'.join(each.owner)}: no NetworkAttachmentDefinition has that name"
        problems.append((UNKNOWN, why))
    elif found.why:
        problems.append(("NetworkNotServed", f"network {'/'.join(each.owner)}: {found.why}"))
    if found is None or found.provider is None or found.why:
        return None
    return each._replace(addresses_only=found.addresses_only)


def _providers(pod: Workload, served: Sequence[Selection]) -> list[tuple[Selection, str]]:
    """Return the provider of each network.

    A network that is listed more than once has the interface's name in it, so that each interface
    has its own. The first one keeps what it was allocated under while it was alone.
    """
    count = Counter(each.owner for each in served)
    found, plain = [], set()
    for each in served:
        if count[each.owner] == 1 and _has(pod, _named(each)) and not _has(pod, each.provider):
            found.append((each, _named(each)))  # it was one of several
        elif (
            count[each.owner] == 1
            or not each.interface
            or (_has(pod, each.provider) and each.owner not in plain)
        ):
            plain.add(each.owner)
            found.append((each, each.provider))
        else:
            found.append((each, _named(each)))
    return found


def _allocated(pod: Workload) -> tuple[str, ...]:
    """Return the providers of further networks of which a pod has an allocation."""
    end = ".kubernetes.io/allocated"
    names = (name.removesuffix(end) for name in pod.annotations if name.endswith(end))
    return tuple(sorted(name for name in names if name != PROVIDER and _has(pod, name)))


def _named(each: Selection) -> str:
    """Return the provider of one of several interfaces in a network."""
    return f"{each.provider}.{each.interface}" if each.interface else each.provider


def _has(pod: Workload, provider: str) -> bool:
    return pod.annotations.get(key(provider, "allocated")) == "true"


def _claim(pod: Workload, provider: str, selection: Selection | None) -> Workload:
    """Return the claim of one network, with the annotations of that network only."""
    own = {
        name: text
        for name, text in pod.annotations.items()
        if name.startswith(f"{provider}.kubernetes.io/")
    }
    asks = _asks(pod, selection) if selection else {}
    return replace(
        pod, provider=provider, annotations=own, asks=asks, networks="", default_network=""
    )


def _asks(pod: Workload, selection: Selection) -> dict[str, str]:
    """Return what a pod asks for by interface name, or else in its list."""
    listed = {"ip_address": ",".join(selection.ips), "mac_address": selection.mac}
    domain = f"{selection.name}.{selection.namespace}.kubernetes.io"
    for name in _REQUESTS if selection.interface else ():
        if text := pod.annotations.get(f"{domain}/{name}.{selection.interface}", ""):
            listed[name] = text
    return {name: text for name, text in listed.items() if text}


def _twice(each: Selection) -> str:
    return (
        f"network {'/'.join(each.owner)} is listed twice without different interface names: one "
        "allocation cannot serve two interfaces; write <namespace>/<name>@<interface> for each"
    )


def subnet_for(claim: Workload, subnets: Iterable[Subnet]) -> Subnet | None:
    """Return the Subnet of a claim that names none.

    Of a pod's own network it is that of its namespace, else the default one. Of a further network
    it is the one with its provider, without the name of an interface in it.
    """
    provider = base(claim.provider)
    served = [subnet for subnet in subnets if subnet.provider == provider]
    if claim.provider != PROVIDER:
        return min(served, key=lambda subnet: subnet.name, default=None)
    found = next((subnet for subnet in served if claim.namespace in subnet.namespaces), None)
    return found or next((subnet for subnet in served if subnet.default), None)


def no_subnet(claim: Workload | NodeClaim) -> str:
    """Return why a claim has no Subnet."""
    if claim.provider == PROVIDER:
        return "no Subnet is the default, lists this namespace or has the name asked for"
    return f"no Subnet has provider {base(claim.provider)} or the name asked for"
