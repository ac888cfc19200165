"""Why OVN does not bind a port of this node: what OVSDB and ovn-controller's own listing show.

`Interface.error` stays empty in all of these cases. `debug/dump-local-bindings` of ovn-controller
has one block for each interface that it knows, with the number of logical ports of its `iface-id`.
"""

import asyncio
import re
from pathlib import Path

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb import unixctl

# Seconds. A busy ovn-controller does not answer in time, and then nothing is judged.
_ANSWER_WITHIN, _SHARED = 0.4, 0.2
_BLOCK = re.compile(r"^name: \[(.*?)\].*num binding lports : \[(\d+)\]$", re.MULTILINE)


class BindingFaults:
    """Judges ports that have no `ovn-installed` although their rows are there.

    ``ovn_run_dir`` has the control socket of ovn-controller.
    """

    def __init__(self, ovs: Ovs, ovn_run_dir: Path) -> None:
        self._ovs, self._run_dir = ovs, ovn_run_dir
        self._asking = asyncio.Lock()
        self._listed: dict[str, int] | None = None
        self._listed_at = float("-inf")

    async def of(self, iface_id: str) -> str | None:
        """Return why OVN does not bind this `iface-id`, and what to do; None where it still may.

        Return within half a second.
        """
        if self._ovs.datapath_type is None:
            return (
                f"OVS has no bridge {self._ovs.bridge}: ovn-controller makes it once it runs and "
                "external_ids:ovn-remote of Open_vSwitch is set"
            )
        if not self._ovs.chassis.get("system-id"):
            return (
                "this node has no chassis name, so OVN binds no port here: set "
                "external_ids:system-id of Open_vSwitch, or restart what sets it (with Kube-OVN, "
                "the pod ovs-ovn of this node)"
            )
        lports = (await self._bindings() or {}).get(iface_id)
        return None if lports is None else _unbound(iface_id, lports)

    async def _bindings(self) -> dict[str, int] | None:
        """Return the number of logical ports of each `iface-id`; None without an answer.

        Callers within a fifth of a second share an answer.
        """
        async with self._asking:
            loop = asyncio.get_running_loop()
            if loop.time() - self._listed_at > _SHARED:
                self._listed = await self._ask()
                self._listed_at = loop.time()
            return self._listed

    async def _ask(self) -> dict[str, int] | None:
        try:
            socket = unixctl.control_socket(self._run_dir, "ovn-controller")
            text = await unixctl.call(socket, "debug/dump-local-bindings", within=_ANSWER_WITHIN)
        except (OvnletError, OSError):
            return None
        return {iface_id: int(lports) for iface_id, lports in _BLOCK.findall(text)}


def _unbound(iface_id: str, lports: int) -> str:
    """Return all causes: ovn-controller may monitor this node's ports only, and see no other."""
    see = f"see `ovn-sbctl find Port_Binding logical_port={iface_id}`"
    elsewhere = "another chassis has claimed it or is requested for it"
    if lports:
        return (
            f"OVN does not give logical switch port {iface_id} to this node: {elsewhere}, or OVN's "
            f"southbound database does not answer; {see}"
        )
    return (
        f"OVN shows this node no logical switch port {iface_id}: either it does not exist (see "
        "whether the network's controller runs and the pod's Subnet exists, or delete the pod), or "
        f"{elsewhere}; {see}"
    )
