"""What Open vSwitch does at the host's boot: a drop-in of the systemd unit of ovs-vswitchd.

Bridges and the NICs in them are in conf.db, which outlasts a reboot; the addresses of a bridge do
not. A NIC that ovs-vswitchd takes at boot is cut off, whatever the host's configuration sets on it
(kube-ovn#1964). So the NIC leaves its bridge before, and the agent moves it again.

Debian and Red Hat name the unit alike. systemd.unit(5): drop-ins are read at boot, so nothing has
to be reloaded. systemd.service(5): `$$` is a dollar sign, and what a `-` begins may fail.
"""

from contextlib import suppress
from pathlib import Path

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.ovs.uplink_operations import MARK, VENDOR
from ovnlet_cni import installer

# The directory of the host's own units, and our file in it.
DIRECTORY, NAME = "/etc/systemd/system", "ovs-vswitchd.service.d/ovnlet.conf"
# A bridge's link outlasts ovs-vswitchd: only a boot is without it.
_TEXT = f"""\
# Of ovnlet, while it may move interfaces to bridges. `ovnlet uninstall` removes it.
#
# At boot the addresses of a moved interface are on no bridge yet. So it leaves its bridge before
# ovs-vswitchd takes it, the host configures it as if there were no bridge, and the agent moves it
# again. A bridge that has its link is left alone: ovs-vswitchd is only restarted.
[Service]
ExecStartPre=-/bin/sh -c '\\
    vsctl="ovs-vsctl --no-wait --timeout=10"; \\
    for bridge in $$($$vsctl --bare --columns=name find Bridge external_ids:{MARK}!=-); do \\
        [ ! -e /sys/class/net/$$bridge ] || continue; \\
        for port in $$($$vsctl list-ports $$bridge); do \\
            vendor=$$($$vsctl --if-exists get Port $$port external_ids:vendor); \\
            [ "$$vendor" != {VENDOR} ] || $$vsctl del-port $$bridge $$port; \\
        done; \\
    done'
"""


class BootUnit:
    """The drop-in in the host's ``directory``; without one, nothing is written."""

    def __init__(self, directory: str | None) -> None:
        self._path = Path(directory) / NAME if directory else None

    def write(self) -> bool:
        """Write the file unless it is there as it should be; return whether it was written.

        It is on the disk when this returns. Raise NodeFault.
        """
        if self._path is None:
            return False
        try:
            return installer.put(self._path, _TEXT.encode(), 0o644)
        except OSError as error:
            raise NodeFault(f"a reboot may cut this node off: {self._path}: {error}") from error

    def is_written(self) -> bool:
        """Return whether the file is there as it should be."""
        try:
            return self._path is not None and self._path.read_bytes() == _TEXT.encode()
        except OSError:
            return False

    def remove(self) -> bool:
        """Remove the file, and its directory if that is empty then; return whether it was there.

        Raise NodeFault.
        """
        if self._path is None or not self._path.exists(follow_symlinks=False):
            return False
        try:
            self._path.unlink()
        except OSError as error:
            raise NodeFault(f"the unit's drop-in cannot be removed: {error}") from error
        with suppress(OSError):
            self._path.parent.rmdir()
        return True
