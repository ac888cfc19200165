"""What a first ADD is refused for, although a repair of a running pod would go on without it.

OVN binds a logical switch port to one interface, so a second claim of it is refused. Only the
newest sandbox of the same pod and interface takes the port over.
"""

from ovnlet.core.errors import Invalid
from ovnlet.core.identity import Attachment, Life, Record
from ovnlet.core.settled_annotations import lost_gateway
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.scopes.pod import PodScope


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


def shares_port(attachment: Attachment, scope: PodScope, records: Records) -> bool:
    """Return whether another recorded interface of the same sandbox has the port."""
    return any(
        other.container_id == attachment.container_id
        and other.key != attachment.key
        and not scope.is_deleted(other.key)
        for other in (record.attachment for record in records.claiming(attachment.iface_id))
    )


async def refuse_held(attachment: Attachment, scope: PodScope, records: Records) -> None:
    """Raise Invalid where a live port of the bridge without a record has the `iface-id`.

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


def require_gateways(record: Record, scope: PodScope) -> None:
    """Report and raise Invalid where an unusable gateway would leave the pod without default route.

    Raise what ``PodScope.in_force`` does.
    """
    attachment = record.attachment
    try:
        if problem := lost_gateway(scope.in_force(record), attachment.provider):
            raise problem
    except Invalid as problem:
        scope.status.problem(attachment, problem)
        raise


def _takes_over(attachment: Attachment, other: Attachment) -> bool:
    """Return whether both are sandboxes of one interface, of one pod or virtual machine."""
    if attachment.ifname != other.ifname:
        return False
    both = (attachment.machine, other.machine)
    return attachment.owner == other.owner or (
        "" not in both and attachment.iface_id == other.iface_id
    )


def _name(attachment: Attachment) -> str:
    return f"{attachment.ifname} of {'/'.join(attachment.called)}"
