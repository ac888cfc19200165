"""What `ovnlet uninstall` does: takes away everything of ours from a node, and nothing of others.

The configuration goes first, so that no pod comes any more; then the network of each sandbox, by the same loop that
made it (desired is ABSENT); then the plugin and the files.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.core.identity import Attachment, AttachmentKey, Life, NodeInterface
from ovnlet.core.resources import ABSENT
from ovnlet.core.settings import Settings
from ovnlet.drivers.host import PortHost, SandboxHost
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux.namespaces import boot_id
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.kube.session import Access, ApiFault, BadCredentials, call
from ovnlet.reconcile.loop import converge
from ovnlet_cni import installer, listener
from ovnlet_cni.pending_deletes import PendingDeletes

BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
_PATIENCE = 10.0
# A DEL that began before the plugin went looks for an agent for 2 s, and then leaves a note: cni/plugin/ovnlet.c.
_LAST_DEL = 3.0


class InUse(OvnletError):
    """The administrator must act: an agent runs, or pods do."""


async def remove(settings: Settings, *, cut_off: bool, say: Callable[[str], None]) -> None:
    """Raises InUse before anything is removed; whatever is left after another error, a second run takes away."""
    socket, run_dir = Path(settings.cni_socket), Path(settings.run_dir)
    if listener.is_answered(socket):
        raise InUse(
            f"an agent answers on {socket}: delete the DaemonSet first, it would bring everything back"
        )
    ovs = Ovs(settings.ovsdb, settings.bridge)
    ovs.start()
    try:
        await _connected(ovs)
        links, node_links = PodLinks(settings.sysctl_dir), NodeLinks(settings.sysctl_dir)
        state = NodeState(ovs, node_links, settings.mtu)
        host = SandboxHost(links, ovs, state)
        records = Sandboxes(run_dir / "sandboxes", boot_id())
        records.load()
        known = _known(host, records, PendingDeletes.beside(socket))
        if not cut_off:
            living = {"/".join(each.owner) for each in known.values() if _lives(host, each)}
            if living := living | await _expected(settings):
                raise InUse(
                    f"pods are there: {', '.join(sorted(living))}; delete or drain them, or give --cut-off"
                )
        if installer.remove_conflist(Path(settings.cni_conf_dir or CONF_DIR)):
            say("removed the CNI configuration")
        await _take_down(known, host, records, say)
        node = NodeInterface(settings.node_name)
        for step in (await converge(PortHost(node_links, ovs, state), node, ABSENT)).steps:
            say(f"node {step}")
    finally:
        await ovs.close()
    if installer.remove_plugin(Path(settings.cni_bin_dir or BIN_DIR)):
        say("removed the plugin")
        await asyncio.sleep(_LAST_DEL)
    for path in _files(socket, run_dir):
        say(f"removed {path}")


async def _connected(ovs: Ovs) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await ovs.ready()
    except TimeoutError:
        raise NotReady(f"{ovs.health()}: ports could not be removed, so nothing was") from None


def _known(
    host: SandboxHost, records: Sandboxes, notes: PendingDeletes
) -> dict[AttachmentKey, Attachment]:
    """By record, by mark on the node, by a note of a deletion."""
    marked = [each.attachment for each in host.found() if each.ours]
    noted = [
        Attachment.of_deletion(note.container_id, note.ifname, records.boot_id)
        for note in notes.read().deletes
    ]
    recorded = [record.attachment for record in records]
    return {each.key: each for each in (*noted, *marked, *recorded)}


def _lives(host: SandboxHost, attachment: Attachment) -> bool:
    return bool(attachment.netns) and host.life(attachment) is not Life.DEAD


async def _expected(settings: Settings) -> set[str]:
    """Pods that the API server has on this node. None where it cannot be asked: the node's own look must do.

    One whose network is gone may still be here: until it is deleted, the runtime calls DEL again and again, and cannot
    delete a pod without a CNI configuration.
    """
    query = {
        "fieldSelector": f"spec.nodeName={settings.node_name},status.phase!=Succeeded,status.phase!=Failed"
    }
    try:
        access = Access(settings.kubeconfig, server=settings.api_server)
        async with access.session() as http:
            pods = (await call(http, "GET", f"{access.server}/api/v1/pods", params=query))["items"]
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
    for key, attachment in sorted(known.items()):
        for step in (await converge(host, attachment, ABSENT)).steps:
            say(f"{'/'.join(attachment.owner)} {step}")
        records.remove(key)


def _files(socket: Path, run_dir: Path) -> Iterator[Path]:
    """Those that an agent makes, by their names; then directories, as far as nothing of others is in them.

    A directory that is a mount of the container's stays, empty: kubelet made it.
    """
    notes = socket.parent / "deleted"
    ours = [
        socket,
        *socket.parent.glob(f".{socket.name}.*"),
        *run_dir.glob("chassis.*"),
        *run_dir.glob("node.*"),
    ]
    ours += [
        *run_dir.glob("sandboxes/*.json"),
        *run_dir.glob("sandboxes/*.new"),
        *notes.glob("*"),
        *notes.glob(".*"),
    ]
    for path in dict.fromkeys(ours):
        if path.exists(follow_symlinks=False):
            path.unlink()
            yield path
    for directory in (notes, run_dir / "sandboxes", socket.parent, run_dir):
        with suppress(OSError):
            directory.rmdir()
