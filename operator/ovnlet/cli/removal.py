"""The work of `ovnlet uninstall`: remove everything of ours from a node, and nothing of others.

First the configuration, so that no pod is attached any more; then the network of each sandbox, by
the same loop that made it (desired is ABSENT); then the plugin and the files.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ovnlet.cli.uplinks import give_back
from ovnlet.core.errors import InUse, NotReady
from ovnlet.core.gateway import GatewayIdentity
from ovnlet.core.identity import Attachment, AttachmentKey, Life, NodeInterface
from ovnlet.core.resources import ABSENT
from ovnlet.core.settings import Settings
from ovnlet.drivers.host import PortHost
from ovnlet.drivers.links.gateway import GatewayLinks
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux.namespaces import boot_id
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.sandbox_host import SandboxHost
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.kube.session import Access, ApiFault, BadCredentials, call
from ovnlet.reconcile.loop import converge
from ovnlet_cni import installer, listener
from ovnlet_cni.pending_deletes import PendingDeletes

BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
KUBE_OVN_SOCKET = "/run/openvswitch/kube-ovn-daemon.sock"
# Seconds.
_CONNECT_TIMEOUT = 10.0
# A DEL that began before the plugin was removed tries to reach an agent for 2 s, and then leaves a
# file: cni/plugin/ovnlet.c.
LAST_DEL = 3.0


async def remove(settings: Settings, *, cut_off: bool, say: Callable[[str], None]) -> None:
    """Remove everything of ours, and call ``say`` with each thing removed.

    ``cut_off`` disconnects pods that still exist. Raise InUse before anything is removed. After any
    other error, a second run removes what is left.
    """
    socket, run_dir = Path(settings.cni_socket), Path(settings.run_dir)
    if listener.is_answered(socket):
        raise InUse(
            f"an agent answers on {socket}: "
            "delete the DaemonSet first, it would bring everything back"
        )
    ovs = Ovs(settings.ovsdb, settings.bridge)
    ovs.start()
    try:
        await _connected(ovs)
        links, node_links = PodLinks(settings.sysctl_dir), NodeLinks(settings.sysctl_dir)
        state = NodeState(ovs, settings.mtu)
        host = SandboxHost(links, ovs, state)
        records = Sandboxes(run_dir / "sandboxes", boot_id())
        records.load()
        known = _known(host, records, PendingDeletes.beside(socket))
        if not cut_off:
            running = {"/".join(each.owner) for each in known.values() if _is_alive(host, each)}
            if running := running | await _expected(settings):
                raise InUse(
                    f"pods are there: {', '.join(sorted(running))}; "
                    "delete or drain them, or give --cut-off"
                )
        if installer.remove_conflist(Path(settings.cni_conf_dir or CONF_DIR)):
            say("removed the CNI configuration")
        await _take_down(known, host, records, say)
        node = NodeInterface(settings.node_name)
        interface = await converge(PortHost(node_links, ovs, state), node, ABSENT)
        gateway = await converge(GatewayLinks(Tables(), node), GatewayIdentity(), ABSENT)
        for step in (*interface.steps, *gateway.steps):
            say(f"node {step}")
        await give_back(settings, say)
    finally:
        await ovs.close()
    remove_stale_socket(settings, say)
    if installer.remove_plugin(Path(settings.cni_bin_dir or BIN_DIR)):
        say("removed the plugin")
        await asyncio.sleep(LAST_DEL)
    for path in files(socket, run_dir):
        say(f"removed {path}")


def remove_stale_socket(settings: Settings, say: Callable[[str], None]) -> None:
    """Remove kube-ovn-cni's socket if nobody answers on it."""
    stale = Path(settings.kube_ovn_socket or KUBE_OVN_SOCKET)
    if stale.is_socket() and not listener.is_answered(stale):
        stale.unlink()
        say(f"removed {stale}")


async def _connected(ovs: Ovs) -> None:
    """Wait for OVSDB. Raise NotReady after ten seconds."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await ovs.ready()
    except TimeoutError:
        raise NotReady(f"{ovs.health()}: ports could not be removed, so nothing was") from None


def _known(
    host: SandboxHost, records: Sandboxes, pending: PendingDeletes
) -> dict[AttachmentKey, Attachment]:
    """Return the attachments by record, by mark on the node, and by recorded DEL."""
    marked = [each.attachment for each in host.found() if each.ours]
    deleted = [
        Attachment.of_deletion(each.container_id, each.ifname, records.boot_id)
        for each in pending.read().deletes
    ]
    recorded = [record.attachment for record in records]
    return {each.key: each for each in (*deleted, *marked, *recorded)}


def _is_alive(host: SandboxHost, attachment: Attachment) -> bool:
    return bool(attachment.netns) and host.life(attachment) is not Life.DEAD


async def _expected(settings: Settings) -> set[str]:
    """Return the pods that the API server has on this node; none where it cannot be asked.

    A pod whose network is gone may still be here. Until it is deleted, the runtime repeats DEL, and
    without a CNI configuration it cannot delete a pod.
    """
    selector = f"spec.nodeName={settings.node_name},status.phase!=Succeeded,status.phase!=Failed"
    try:
        access = Access(settings.kubeconfig, server=settings.api_server)
        async with access.session() as http:
            pods = (
                await call(
                    http, "GET", f"{access.server}/api/v1/pods", params={"fieldSelector": selector}
                )
            )["items"]
    except (BadCredentials, ApiFault):
        return set()
    metas = [pod["metadata"] for pod in pods if not pod["spec"].get("hostNetwork")]
    return {f"{meta['namespace']}/{meta['name']}" for meta in metas}


async def _take_down(
    known: dict[AttachmentKey, Attachment],
    host: SandboxHost,
    records: Sandboxes,
    say: Callable[[str], None],
) -> None:
    """Remove the network and the record of each attachment."""
    for key, attachment in sorted(known.items()):
        for step in (await converge(host, attachment, ABSENT)).steps:
            say(f"{'/'.join(attachment.owner)} {step}")
        records.remove(key)


def files(socket: Path, run_dir: Path) -> Iterator[Path]:
    """Remove the files that an agent makes, by their names, and yield each.

    Then remove the directories that are empty. A directory that is a mount of the container stays:
    kubelet made it.
    """
    pending = socket.parent / "deleted"
    ours = [
        socket,
        *socket.parent.glob(f".{socket.name}.*"),
        *run_dir.glob("chassis.*"),
        *run_dir.glob("encap.*"),
        *run_dir.glob("node.*"),
        *run_dir.glob("gateway.*"),
    ]
    ours += [
        *run_dir.glob("sandboxes/*.json"),
        *run_dir.glob("sandboxes/*.new"),
        *pending.glob("*"),
        *pending.glob(".*"),
    ]
    for path in dict.fromkeys(ours):
        if path.exists(follow_symlinks=False):
            path.unlink()
            yield path
    for directory in (pending, run_dir / "sandboxes", socket.parent, run_dir):
        with suppress(OSError):
            directory.rmdir()
