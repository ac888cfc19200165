"""The annotations that publish the addresses of a pinned port."""

from collections.abc import Mapping

from ovnlet.core.annotations import PROVIDER_NETWORK, key
from ovnlet.core.ipam.claims import Binding, Claim, NodeClaim, Workload
from ovnlet.core.ipam.definitions import is_addresses_only
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.virtual_machines import SHORT as MACHINE

# The short names of the annotations that publish a pod's port.
PUBLISHED = (
    *("ip_address", "mac_address", "cidr", "gateway", "logical_switch", "allocated"),
    *("logical_router", "pod_nic_type", "routed", "vlan_id", PROVIDER_NETWORK, MACHINE),
)


def annotations(claim: Claim, binding: Binding, subnet: Subnet, router: str) -> dict[str, str]:
    """Return all annotations that publish a pinned port. They are written in one patch."""
    facts = {
        "ip_address": binding.ips,
        "mac_address": binding.mac,
        "cidr": subnet.cidr,
        "gateway": subnet.gateway,
        "logical_switch": subnet.name,
        "allocated": "true",
    }
    if isinstance(claim, Workload) and not is_addresses_only(claim.provider):
        facts |= {"pod_nic_type": "veth-pair", "routed": "true", **_way_out(subnet, router)}
        # One that the pod came with would name its port by another pod's machine.
        facts |= {MACHINE: claim.machine} if claim.machine or claim.value(MACHINE) else {}
    elif isinstance(claim, NodeClaim):
        facts |= {"port_name": claim.port}
    return {key(claim.provider, name): value for name, value in facts.items()}


def _way_out(subnet: Subnet, router: str) -> dict[str, str]:
    """Return what leads out of the subnet: OVN's router, or a VLAN of a physical network."""
    if subnet.localnet is None:
        return {"logical_router": router}
    return {"vlan_id": str(subnet.localnet.tag), PROVIDER_NETWORK: subnet.localnet.network}


def missing(claim: Claim, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts that the claim's annotations do not state."""
    return {name: value for name, value in facts.items() if claim.annotations.get(name) != value}
