"""Examines what a reboot needs where interfaces are moved to bridges."""

from collections.abc import Iterator

from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.ovs.boot_unit import BootUnit


def examine(settings: Settings) -> Iterator[Finding]:
    """Look for the drop-in of Open vSwitch's unit. Nothing is found where nothing is moved."""
    if settings.underlay != "manage":
        return
    if settings.systemd_dir is None:
        yield note(
            "reboot",
            "systemd_dir is not set: ovnlet takes no interface out of its bridge at boot",
            "set it, or start Open vSwitch as the page on the underlay says",
        )
    elif BootUnit(settings.systemd_dir).is_written():
        yield ok("reboot", "interfaces leave their bridges before systemd starts ovs-vswitchd")
    else:
        yield fault(
            "reboot",
            f"the drop-in of Open vSwitch's unit below {settings.systemd_dir} is missing or not "
            "as it should be: a reboot may cut this node off",
            "make the directory writable and restart the agent's pod",
        )
