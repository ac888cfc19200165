"""The addresses that a claim asks for: by annotation, by a pool's name, or none in particular."""

import re
from dataclasses import dataclass

from ovnlet.core import values
from ovnlet.core.allocation import Address
from ovnlet.core.annotations import key
from ovnlet.core.errors import Invalid
from ovnlet.core.ipam.claims import UNICAST_MAC, Binding, Claim, Workload, ordinal
from ovnlet.core.ipam.subnets import Subnet

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
IP, MAC, POOL = "ip_address", "mac_address", "ip_pool"


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """The addresses and the MAC that a claim asks for. OVN chooses what is not asked for."""

    addresses: tuple[Address, ...] = ()
    mac: str = ""

    @property
    def words(self) -> frozenset[str]:
        """All of it as text."""
        return frozenset((*map(str, self.addresses), *([self.mac] if self.mac else [])))

    def met_by(self, binding: Binding) -> bool:
        """Return whether the binding has every requested address and the MAC."""
        return set(self.addresses) <= set(binding.addresses) and self.mac in ("", binding.mac)


def named_pool(claim: Claim) -> str:
    """Return the name of the IPPool that the claim asks for, or an empty string.

    It is empty if the claim asks for addresses, or for nothing in particular.
    """
    text = claim.asked(POOL).strip()
    other = claim.asked(IP).strip() or _is_address(text)
    return text if _NAME.fullmatch(text) and not other else ""


def asked_mac(claim: Claim) -> str:
    """Return the MAC that the claim asks for, or an empty string. Raises Invalid."""
    mac = claim.asked(MAC).strip().lower()
    if mac and not UNICAST_MAC.fullmatch(mac):
        name = key(claim.provider, MAC)
        raise Invalid(name, mac, "a unicast MAC address such as 00:00:00:53:00:01")
    return mac


def address_requests(claim: Claim, subnet: Subnet) -> tuple[AddressRequest, ...]:
    """Return what the claim asks for, in the order in which it is tried. Raises Invalid."""
    mac = asked_mac(claim)
    if text := claim.asked(IP).strip():
        return (AddressRequest(_asked(key(claim.provider, IP), text, subnet), mac),)
    if text := claim.asked(POOL).strip():
        return tuple(AddressRequest(addresses, mac) for addresses in _pool(claim, text, subnet))
    return (AddressRequest(mac=mac),)


def _pool(claim: Claim, text: str, subnet: Subnet) -> tuple[tuple[Address, ...], ...]:
    """Return the sets of addresses in the annotation `ip_pool`.

    Semicolons separate sets, commas single addresses. A pod of a StatefulSet gets only the entry of
    its ordinal.
    """
    name = key(claim.provider, POOL)
    parts = text.split(";") if ";" in text or _is_pair(text) else text.split(",")
    pool = tuple(_asked(name, part, subnet) for part in parts if part.strip())
    number = ordinal(claim.name) if isinstance(claim, Workload) and claim.workload else None
    if number is None:
        return pool
    if number >= len(pool):
        raise Invalid(
            name, text, f"at least {number + 1} entries, one for each pod of the StatefulSet"
        )
    return (pool[number],)


def _is_address(text: str) -> bool:
    try:
        values.address(text)
    except ValueError:
        return False
    return True


def _is_pair(text: str) -> bool:
    """Return whether the text is one address of each family, which is a single entry of a pool."""
    parts = values.split(text)
    return len(parts) == 2 and (":" in parts[0]) != (":" in parts[1])


def _asked(name: str, text: str, subnet: Subnet) -> tuple[Address, ...]:
    """Return the addresses in ``text``, IPv4 first. Raises Invalid if a pod may not have them."""
    allowed = (
        f"at most one address of each family inside {subnet.cidr} "
        "that is neither the gateway's nor in excludeIps"
    )
    try:
        found = [values.address(part.partition("/")[0]) for part in values.split(text)]
    except ValueError as error:
        raise Invalid(name, text, allowed) from error
    if len({address.version for address in found}) != len(found) or not all(
        map(subnet.grants, found)
    ):
        raise Invalid(name, text, allowed)
    return tuple(sorted(found, key=lambda address: address.version))
