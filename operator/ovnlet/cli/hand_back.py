"""The work of `ovnlet uninstall --hand-back`: leave a node to kube-ovn-cni again.

Pods and the node's interface keep their ports, links and addresses, which kube-ovn-cni takes over.
What goes is what would be in front of its own: routes, the gateway, the configuration, the records.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from ovnlet.cli.removal import BIN_DIR, CONF_DIR, LAST_DEL, files, remove_stale_socket
from ovnlet.core.errors import InUse
from ovnlet.core.gateway import GatewayIdentity
from ovnlet.core.identity import NodeInterface
from ovnlet.core.resources import ABSENT
from ovnlet.core.settings import Settings
from ovnlet.drivers.links.gateway import GatewayLinks
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.reconcile.loop import converge
from ovnlet_cni import installer, listener


async def hand_back(settings: Settings, say: Callable[[str], None]) -> None:
    """Remove what is ours beside the pods, and call ``say`` with each thing removed.

    Raise InUse before anything is removed. After any other error, a second run removes what is
    left.
    """
    socket, run_dir = Path(settings.cni_socket), Path(settings.run_dir)
    if listener.is_answered(socket):
        raise InUse(f"an agent answers on {socket}: delete the DaemonSet first")
    remove_stale_socket(settings, say)
    if installer.remove_conflist(Path(settings.cni_conf_dir or CONF_DIR)):
        say("removed the CNI configuration")
    own = NodeInterface(settings.node_name)
    for route in NodeLinks(settings.sysctl_dir).hand_back(own):
        say(f"left the route to {route.destination} to kube-ovn-cni")
    gateway = GatewayLinks(Tables(), own)
    for step in (await converge(gateway, GatewayIdentity(), ABSENT)).steps:
        say(f"node {step}")
    if installer.remove_plugin(Path(settings.cni_bin_dir or BIN_DIR)):
        say("removed the plugin")
        await asyncio.sleep(LAST_DEL)
    for path in files(socket, run_dir):
        say(f"removed {path}")
