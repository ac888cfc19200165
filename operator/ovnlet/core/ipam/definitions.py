"""What the controller reads of a NetworkAttachmentDefinition, and the provider of its network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ovnlet.core.ipam.claims import PROVIDER, Owner

# Types of configurations whose addresses, and mostly whose interfaces too, are ovnlet's.
TYPES = ("ovnlet", "kube-ovn")


@dataclass(frozen=True, slots=True)
class Definition:
    """What the controller keeps of a NetworkAttachmentDefinition.

    ``provider`` is that of the plugin configuration that is ovnlet's, None where none is.
    ``addresses_only`` means that another plugin makes the interfaces and has their addresses from
    ovnlet. ``why`` says why nothing can be allocated for it, although it is ovnlet's.
    """

    kind: ClassVar[str] = "NetworkAttachmentDefinition"
    api_version: ClassVar[str] = "k8s.cni.cncf.io/v1"

    namespace: str
    name: str
    object_uid: str
    provider: str | None = None
    addresses_only: bool = False
    why: str = ""

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)


def definition(namespace: str, name: str, uid: str, config: str) -> Definition:
    """Return what a definition's ``spec.config`` says: a configuration, or a list of plugins."""
    found = Definition(namespace, name, uid)
    try:
        body = json.loads(config or "{}")
        plugins = [each for each in body.get("plugins", [body]) if isinstance(each, dict)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return found
    for plugin in plugins:
        if plugin.get("type") in TYPES:
            return _ours(found, plugin)
        ipam = plugin.get("ipam")
        if isinstance(ipam, dict) and ipam.get("type") in TYPES:
            return _ours(replace(found, addresses_only=True), ipam)
    return found


def _ours(found: Definition, part: Mapping[str, Any]) -> Definition:
    wanted = provider_of(found.name, found.namespace, addresses_only=found.addresses_only)
    stated = str(part.get("provider") or PROVIDER)
    why = "" if stated == wanted else f'its provider is {stated!r}; write "provider": "{wanted}"'
    if "." in found.name:
        why = "its name has a dot, so its provider could be another's; give it another name"
    return replace(found, provider=stated, why=why)


def provider_of(name: str, namespace: str, *, addresses_only: bool) -> str:
    """Return the provider that Kube-OVN's controller gives to a network."""
    return f"{name}.{namespace}" if addresses_only else f"{name}.{namespace}.{PROVIDER}"


def base(provider: str) -> str:
    """Return a provider without the name of an interface: name, namespace and, mostly, `ovn`."""
    parts = provider.split(".")
    return ".".join(parts[: 2 if is_addresses_only(provider) else 3])


def is_addresses_only(provider: str) -> bool:
    """Return whether other plugins make the interfaces in the networks of this provider."""
    parts = provider.split(".")
    return len(parts) > 1 and parts[2:3] != [PROVIDER]
