"""The wiring of the scopes of what a node has once: its chassis, OVN's flows, the CNI files."""

from collections.abc import Callable

from ovnlet.core.chassis import ChassisIdentity, FlowsIdentity
from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.encap import ALL, INTERFACE, NETWORKS, declared
from ovnlet.core.settings import Settings
from ovnlet.drivers.links import addresses
from ovnlet.drivers.ovs.chassis import ChassisDriver
from ovnlet.drivers.ovs.encap import EncapDriver
from ovnlet.drivers.ovs.forwarding import FlowsDriver, Forwarding
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.kube.objects import OwnNode
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Scope
from ovnlet.reconcile.scopes.chassis import ChassisScope
from ovnlet.reconcile.scopes.cni_files import CniFilesScope
from ovnlet.reconcile.scopes.encap import EncapScope
from ovnlet.reconcile.scopes.flows import FlowsScope
from ovnlet.reconcile.status import Status


def directories(settings: Settings) -> CniDirectories:
    """Return the directories of the container runtime, as the settings have them."""
    return CniDirectories(
        settings.cni_bin_dir or "", settings.cni_conf_dir or "", settings.kube_ovn_socket or ""
    )


class NodeWide:
    """Makes these scopes. ``status`` returns a new Status for a scope's name."""

    def __init__(
        self, settings: Settings, loop: Loop, owners: OwnerIndex, status: Callable[[str], Status]
    ) -> None:
        self._settings, self._loop, self._owners, self._status = settings, loop, owners, status
        self.scopes: dict[str, Scope] = {}

    def make_chassis(
        self, ovs: Ovs, inputs: JsonFile, known_as: Callable[[str], None]
    ) -> tuple[Callable[[], bool], Callable[[], None]]:
        """Make the scope of the chassis.

        Return what says whether its bridge is in userspace, and what is called when ovs-vswitchd
        is back. The latter does nothing where the chassis is another program's.
        """
        driver = ChassisDriver(ovs)
        scope = self.scopes["chassis"] = ChassisScope(
            driver,
            inputs,
            self._status("chassis"),
            identity=ChassisIdentity(self._settings.bridge),
            given=self._settings.chassis_ids,
            mode=self._settings.chassis,
            repair=self._settings.repair,
            known_as=known_as,
        )

        def returned() -> None:
            if scope.repairs:
                driver.unannounce()
                self._loop.passes("chassis").add(scope.only)

        return scope.userspace, returned

    def make_encap(self, ovs: Ovs, inputs: JsonFile, watch: Watch) -> Callable[[OwnNode], None]:
        """Make the scope of the tunnels' addresses, and return what takes the Node.

        With ``encap: node`` they are its own, as kube-ovn-cni's; else the chassis' owner is theirs.
        """
        settings = self._settings
        follows, owns = settings.encap == "node", settings.chassis == "manage"
        scope = self.scopes["encap"] = EncapScope(
            EncapDriver(ovs, addresses.by_link),
            inputs,
            self._loop.passes("encap"),
            self._status("encap"),
            given=settings.chassis_ids.get(ALL, ""),
            interface=settings.tunnel_interface,
            follows_node=follows,
            repair=settings.repair if follows or owns else "report",
            watch=watch,
        )

        def seen(node: OwnNode) -> None:
            notes = node.annotations
            interface, networks = (notes.get(name, "") for name in (INTERFACE, NETWORKS))
            scope.put(interface, networks, node.internal, declared(settings, notes, node.internal))

        return seen

    def make_flows(self, forwarding: Forwarding) -> None:
        """Make the scope of OVN's flows."""
        self.scopes["flows"] = FlowsScope(
            FlowsDriver(forwarding),
            FlowsIdentity(self._settings.bridge),
            self._loop.passes("flows"),
            self._status("flows"),
            owners=self._owners,
            repair=self._settings.repair,
        )

    def make_cni(self, files: CniFiles, directories: CniDirectories) -> CniFilesScope:
        """Make the scope of the CNI files, and return it: start-up opens it."""
        scope = CniFilesScope(
            files,
            directories,
            self._loop.passes("cni"),
            self._status("cni"),
            owners=self._owners,
            repair=self._settings.repair,
        )
        self.scopes["cni"] = scope
        return scope
