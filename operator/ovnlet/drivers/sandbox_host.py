"""The host of attachments: what `PortHost` does, and which sandboxes are dead or lost."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ovnlet.core import fixed, ids
from ovnlet.core.errors import NodeFault
from ovnlet.core.fixed import Found
from ovnlet.core.identity import Attachment, Life
from ovnlet.core.resources import Network
from ovnlet.drivers.host import PortHost
from ovnlet.drivers.links.announcing import announce
from ovnlet.drivers.links.duplicates import other_holder
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.binding_faults import BindingFaults
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.reconcile.stages import Clock, untimed

# What kube-ovn-cni leaves of the name of an interface of KubeVirt's.
_PART = re.compile(r"[0-9a-f]{7}")


class SandboxHost(PortHost):
    """The host of attachments, which also reports dead sandboxes and finds lost attachments.

    ``ovn_run_dir`` has the control socket of ovn-controller.
    """

    def __init__(
        self,
        links: PodLinks,
        ovs: Ovs,
        state: NodeState,
        clock: Clock = untimed,
        ovn_run_dir: str = "/run/ovn",
    ) -> None:
        super().__init__(links, ovs, state, clock)
        self._sandboxes, self._faults = links, BindingFaults(ovs, Path(ovn_run_dir))

    async def hopeless(self, attachment: Attachment) -> str | None:
        """Return why OVN cannot install the port, and what to do; None while it may."""
        return await self._faults.of(attachment.iface_id)

    async def joined(self, switch: str) -> None:
        """Wait without a bound until the switch is joined to the bridge of its physical network.

        ovn-controller makes the patch port once the chassis has a port of the switch, and the
        network has a bridge in `ovn-bridge-mappings`.
        """
        await self._ovs.plugged(f"patch-localnet.{switch}-to-{self._ovs.bridge}")

    async def other_holder(
        self, attachment: Attachment, network: Network
    ) -> tuple[str, str] | None:
        """Return an address that another machine has, and its MAC; None without one.

        Ask from inside the pod, for up to 1.2 s. Raise NodeFault or UnknownSandbox.
        """
        return await other_holder(attachment, network)

    async def announce(self, attachment: Attachment, network: Network) -> None:
        """Announce each address of the network once, from inside the pod.

        Raise NodeFault or UnknownSandbox.
        """
        await announce(attachment, network)

    def pod_end(self, attachment: Attachment) -> tuple[str, str] | None:
        """Return name and MAC of the pod's end as they are; None where no pair is whole.

        Raise NodeFault.
        """
        return self._sandboxes.pod_end(attachment)

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox is alive, according to the kernel."""
        return self._sandboxes.life(attachment)

    def holders(self, iface_id: str) -> list[tuple[str, Attachment | None]]:
        """Return the live ports that have an `iface-id`, and the attachment that each is of.

        Raise NotReady without OVSDB.
        """
        return [
            (name, attachment_of(name, mark, labels))
            for name, mark, labels in self._ovs.holding(iface_id)
            if self._ovs.is_plugged(name)
        ]

    def found(self) -> list[Found]:
        """Return the attachments that marks on ports and links show, and what kube-ovn-cni made.

        Raise NotReady without OVSDB.
        """
        ports = [
            Found(
                attachment if mark else self._with_whole_name(attachment),
                bool(mark),
                fixed.decode(labels.get(fixed.KEY, "")),
            )
            for name, mark, labels in self._ovs.labelled()
            if (attachment := attachment_of(name, mark, labels)) is not None
        ]
        keys = {each.attachment.key for each in ports}
        others = {key for alias in self._sandboxes.aliases() if (key := ids.aliased(alias))}
        others |= {key for mark in self._ovs.shaped() if (key := ids.marked(mark))}
        unlabelled = [Attachment.of_deletion(*key, "") for key in sorted(others - keys)]
        return [*ports, *(Found(each, True) for each in unlabelled if each.container_id)]

    def _with_whole_name(self, attachment: Attachment) -> Attachment:
        """Return it with its interface's name where the name of the node's end has only a part."""
        if not _PART.fullmatch(attachment.ifname):
            return attachment
        with suppress(NodeFault):
            if (inside := self.pod_end(attachment)) is not None:
                return replace(attachment, ifname=interface_of(attachment.ifname, inside[0]))
        return attachment


def interface_of(short: str, inside: str) -> str:
    """Return the interface whose host name has ``short``; ``inside`` is its name in the pod."""
    whole = ids.of_kubevirt(inside)
    return whole if whole and ids.shortened(whole) == short else short


def attachment_of(name: str, mark: str | None, labels: Mapping[str, str]) -> Attachment | None:
    """Return the attachment that a port's labels describe; None where it is of no sandbox.

    kube-ovn-cni's own labels have only a part of the container ID, in the name.
    """
    key = ids.marked(mark) if mark else ids.of_host_link(name)
    if key is None or not key[0]:
        return None
    namespace, name_of = labels.get("pod_namespace", ""), labels.get("pod_name", "")
    iface_id = labels.get("iface-id", "")
    values = fixed.decode(labels.get(fixed.KEY, ""))
    provider = iface_id.removeprefix(f"{name_of}.{namespace}").removeprefix(".") or "ovn"
    return Attachment(
        *key,
        labels.get("pod_netns", ""),
        namespace,
        (values.pod if values else "") or name_of,
        labels.get("iface-id-ver"),
        provider,
        boot_id="",
        sequence=values.sequence if values else 0,
        routes=values.routes if values else (),
        host_link=name,
        iface_id=iface_id,
        mtu=values.mtu if values else 0,
    )
