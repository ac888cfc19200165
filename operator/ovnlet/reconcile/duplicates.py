"""The check at a first ADD that no other machine of the physical network has the pod's addresses.

Only a pod whose Subnet is in a physical network has such neighbours: in OVN's own networks the
controller that gives the addresses knows them all.
"""

from ovnlet.core import annotations, virtual_machines
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Network
from ovnlet.reconcile.outcome import Notice
from ovnlet.reconcile.scopes.pod import PodScope

REASON = "AddressConflict"


async def refuse_taken(scope: PodScope, attachment: Attachment, desired: Network) -> None:
    """Raise NotReady, and make an Event, where another machine answers for an address of the pod.

    It is for a first ADD whose port is installed: at a repair or a repeated ADD the pod uses its
    addresses already. The target of a live migration asks nobody: its source has them until it
    ends. Raise NodeFault or UnknownSandbox where the pod's end of the link cannot be used.
    """
    text = scope.text(attachment) or {}
    network = annotations.provider_network(text, attachment.provider)
    if not network or virtual_machines.MIGRATION in text:
        return
    if (found := await scope.host.other_holder(attachment, desired)) is None:
        return
    address, mac = found
    refusal = NotReady(
        f"{address} is in use: {mac} answers for it in the physical network {network}. Take the "
        "address from that machine, or write it to excludeIps of the Subnet and delete the pod"
    )
    scope.status.notice(attachment, Notice(REASON, str(refusal)))
    raise refusal
