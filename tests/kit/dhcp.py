"""A DHCP server that is a router too, and the DHCP clients of Debian, as commands to spawn.

A client runs with a mount namespace and a host name of its own: it writes no file of the machine.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

# The shortest lease of dnsmasq, in seconds.
SHORTEST = 120
_OPTIONS = (
    "--keep-in-foreground --log-facility=- --conf-file=/dev/null --pid-file= --port=0 --user=root "
    "--no-ping --dhcp-authoritative --bind-interfaces"
)
_PRIVATE = "mount --make-rprivate /"
_HOOKS = "/etc/dhcp/dhclient-enter-hooks.d"
_NETWORKD = "/usr/lib/systemd/systemd-networkd"
# Each stays in the foreground.
CLIENTS: Mapping[str, str] = {
    "dhclient": "dhclient -4 -d -cf /dev/null -lf {home}/leases -pf {home}/pid {link}",
    "dhcpcd": "dhcpcd -B -4 -f /dev/null --nohook resolv.conf --noarp {link}",
}


def server(link: str, addresses: str, router: str, home: Path, *, prefix: str = "") -> list[str]:
    """Return the command of dnsmasq on a link.

    ``addresses`` are the first and the last one, with a comma. With ``prefix`` it sends router
    advertisements of that prefix of IPv6 too.
    """
    words = ["dnsmasq", *_OPTIONS.split(), f"--interface={link}"]
    words += [f"--dhcp-range={addresses},{SHORTEST}", f"--dhcp-option=option:router,{router}"]
    words += [f"--dhcp-leasefile={home}/dnsmasq.leases"]
    if prefix:
        words += ["--enable-ra", f"--dhcp-range={prefix},ra-only,64,{2 * SHORTEST}"]
        words += [f"--ra-param={link},4,{2 * SHORTEST}"]
    return words


def client(name: str, link: str, home: Path) -> list[str]:
    """Return the command of a client on a link; ``home`` gets its files."""
    hooks = home / "hooks"
    hooks.mkdir(parents=True, exist_ok=True)
    (hooks / "quiet").write_text("make_resolv_conf() { :; }\n")
    (home / "resolv.conf").touch()
    (home / "state").mkdir(exist_ok=True)
    binds = {str(hooks): _HOOKS, str(home / "resolv.conf"): "/etc/resolv.conf"}
    if name == "dhcpcd":
        binds |= {str(home / "state"): "/var/lib/dhcpcd"}
    steps = [_PRIVATE, *(f"mount --bind {one} {other}" for one, other in binds.items())]
    steps += ["mkdir -p /run/dhcpcd"] if name == "dhcpcd" else []
    command = CLIENTS[name].format(link=shlex.quote(link), home=home)
    return ["unshare", "--mount", "--uts", "sh", "-c", "; ".join([*steps, f"exec {command}"])]


def networkd(link: str, home: Path, *sections: str) -> list[str]:
    """Return the command of systemd-networkd, which configures a link by the sections of a file.

    It drops root's rights, has no bus, and does not see the machine's /run. A later one with the
    same ``home`` is its restart.
    """
    for each in ("network", "run/systemd"):
        (home / each).mkdir(parents=True, exist_ok=True)
    configure(home, f"[Match]\nName={link}", *sections)
    steps = [
        _PRIVATE,
        # Where /sys can be written it waits for udev, which a namespace does not have.
        "mount -o remount,bind,ro /sys",
        f"mount --bind {home}/network /etc/systemd/network",
        f"mount --bind {home}/run /run",
        f"exec {_NETWORKD}",
    ]
    return ["unshare", "--mount", "--uts", "sh", "-ec", "; ".join(steps)]


def configure(home: Path, *sections: str) -> None:
    """Write the one file by which systemd-networkd configures links."""
    (home / "network" / "10-uplink.network").write_text("\n".join(sections) + "\n")
