"""The host of attachments: what `PortHost` does, and which sandboxes are dead or lost."""

from collections.abc import Awaitable, Callable, Mapping

from ovnlet.core import ids
from ovnlet.core.identity import Attachment, Life
from ovnlet.drivers.host import NodeState, PortHost
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.reconcile.stages import Clock, untimed


async def _unjudged(_: str) -> None:
    """Return None: nothing is known of the binding."""


class SandboxHost(PortHost):
    """The host of attachments, which also reports dead sandboxes and finds lost attachments.

    ``binding_fault`` returns why OVN does not bind an `iface-id`, or None while it may.
    """

    def __init__(
        self,
        links: PodLinks,
        ovs: Ovs,
        state: NodeState,
        clock: Clock = untimed,
        binding_fault: Callable[[str], Awaitable[str | None]] = _unjudged,
    ) -> None:
        super().__init__(links, ovs, state, clock)
        self._sandboxes, self._binding_fault = links, binding_fault

    async def hopeless(self, attachment: Attachment) -> str | None:
        """Return why OVN cannot install the port, and what to do; None while it may."""
        return await self._binding_fault(attachment.iface_id)

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox is alive, according to the kernel."""
        return self._sandboxes.life(attachment)

    def found(self) -> list[tuple[Attachment, bool]]:
        """Return the attachments that marks on ports and links show, and whether each mark is ours.

        Those that kube-ovn-cni made have none of ours. Raise NotReady without OVSDB.
        """
        labelled = [(_labelled(*label), bool(label[1])) for label in self._ovs.labelled()]
        ports = [(each, ours) for each, ours in labelled if each is not None]
        keys = {attachment.key for attachment, _ in ports}
        others = {key for alias in self._sandboxes.aliases() if (key := ids.aliased(alias))}
        others |= {key for mark in self._ovs.shaped() if (key := ids.marked(mark))}
        unlabelled = [Attachment.of_deletion(*key, "") for key in sorted(others - keys)]
        return [*ports, *((each, True) for each in unlabelled if each.container_id)]


def _labelled(name: str, mark: str | None, labels: Mapping[str, str]) -> Attachment | None:
    """Return the attachment that a port's labels describe; None where it is of no sandbox.

    kube-ovn-cni's own labels have only a part of the container ID, in the name.
    """
    key = ids.marked(mark) if mark else ids.of_host_link(name)
    if key is None or not key[0]:
        return None
    namespace, pod = labels.get("pod_namespace", ""), labels.get("pod_name", "")
    iface_id = labels.get("iface-id", "")
    provider = iface_id.removeprefix(f"{pod}.{namespace}").removeprefix(".") or "ovn"
    return Attachment(
        *key,
        labels.get("pod_netns", ""),
        namespace,
        pod,
        labels.get("iface-id-ver"),
        provider,
        boot_id="",
        sequence=0,
        host_link=name,
        iface_id=iface_id,
    )
