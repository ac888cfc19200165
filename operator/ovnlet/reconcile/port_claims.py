"""Who may have a logical switch port: OVN binds it to one interface of the node, so a second claim is refused.

The newest sandbox of the same pod and interface takes the port over; nobody else does.
"""

from ovnlet.core.errors import Invalid
from ovnlet.core.identity import Attachment, Life
from ovnlet.reconcile.scopes.pod import PodScope, Records


def refuse_recorded(attachment: Attachment, scope: PodScope, records: Records) -> None:
    """Raise Invalid where a recorded interface of a living sandbox has the port."""
    for record in records.claiming(attachment.iface_id):
        other = record.attachment
        if _takes_over(attachment, other) or scope.is_deleted(other.key):
            continue
        if scope.host.life(other) is not Life.DEAD:
            allowed = (
                f"a provider of its own: {_name(other)} has the "
                f"logical switch port {attachment.iface_id} already"
            )
            raise Invalid("provider", attachment.provider, allowed)


async def refuse_held(attachment: Attachment, scope: PodScope, records: Records) -> None:
    """Raise Invalid where a live port of the bridge that no record tells of has the `iface-id`.

    Raise NotReady without OVSDB.
    """
    await scope.host.ready()
    for port, other in scope.host.holders(attachment.iface_id):
        if other is None:
            holder = f"OVS port {port}"
        elif (
            _takes_over(attachment, other)
            or records.get(other.key) is not None
            or scope.host.life(other) is Life.DEAD
        ):
            continue
        else:
            holder = f"OVS port {port} of {_name(other)}"
        allowed = f"a logical switch port that nothing else has: {holder} has it"
        raise Invalid("iface-id", attachment.iface_id, allowed)


def _takes_over(attachment: Attachment, other: Attachment) -> bool:
    """Return whether both are sandboxes of one interface of one pod."""
    return (attachment.owner, attachment.ifname) == (other.owner, other.ifname)


def _name(attachment: Attachment) -> str:
    return f"{attachment.ifname} of {'/'.join(attachment.called)}"
