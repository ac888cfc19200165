"""The virtual machine's first program: it mounts the disks and starts Open vSwitch and the chassis.

`python -m testbed.guest_boot BED ROLE`, as root of a kernel that has just booted. It then
becomes the command server. Except for the bed's directory, the machine's files are read-only here
or in an overlay in the guest's memory.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from testbed import layout, switch
from testbed.processes import start_time
from testbed.service import Service
from testbed.space import ALL_NAMESPACES, Space, Words

# Kept over a power cut: the space's own directories, which nothing else in the space uses.
DISKS = ("/etc/openvswitch", "/var/lib/openvswitch", "/var/lib/ovn")
MODULES = (
    "openvswitch",
    "geneve",
    "tun",
    "act_police",
    "cls_matchall",
    "sch_htb",
    "sch_tbf",
    "sch_netem",
    "sch_ingress",
)
GENEVE = 6081  # the port of UDP
# QEMU's user network: the guest and its gateway; the ports of the command server, and of one
# program whose streams go to the machine.
ADDRESS, GATEWAY, LINK, PORT, STREAM_PORT = "10.0.2.15", "10.0.2.2", "eth0", 7000, 7001
SET_CHILD_SUBREAPER = 36  # of prctl
KUBELET_PORT = 10250
# Where containerd and kubelet keep their files: no overlay can be made on an overlay.
PLAIN = ("/var/lib/containerd", "/var/lib/kubelet")


class GuestSpace(Space):
    """The whole guest in the role of a node's space: there are no namespaces to enter."""

    __slots__ = ()

    def path(self, inside: str | Path) -> Path:
        """Return the path as it is."""
        return Path(inside)

    def enter(self, argv: Words, namespaces: Iterable[str] = ALL_NAMESPACES) -> list[str]:
        """Return the command line as it is."""
        return list(map(str, argv))

    def spawn(
        self, name: str, argv: Words, *, env: Mapping[str, str] = {}, network: bool = True
    ) -> Service:
        """Start a service in its own session, with the reaper as its parent."""
        command = f"setsid env --default-signal=INT,QUIT {shlex.join(map(str, argv))}"
        script = f"{command} </dev/null >>{self.log(name)} 2>&1 & echo $!"
        pid = int(self.run(["sh", "-c", script], env=env))
        service = Service(name, pid, start_time(pid), self.log(name))
        self.record(service, argv, env, network=network)
        return service


def stay_as_reaper() -> None:
    """Go on in a child; this process stays, and the kernel reaps what would become its children.

    The virtual machine's init reaps nothing. A zombie counts as running for scripts that look for
    its directory in /proc, such as ovs-ctl.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork():
        while True:
            signal.pause()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def main(bed: str, role: str, encap_ip: str = ADDRESS) -> None:
    """Start everything, write the kernel's release to the node's file `booted`, serve commands."""
    directory = layout.directory(bed) / role
    guest = GuestSpace(layout.space_name(bed, role), directory, 1, 0, cgroups=False)
    disks = "".join(
        f"mkdir -p {disk}; mount --bind {directory}/fresh{disk} {disk}\n" for disk in DISKS
    )
    guest.sh(
        f"hostname {guest.name}\n{disks}"
        "mkdir -p /run/netns /run/openvswitch /run/ovn /var/log/openvswitch /var/log/ovn\n"
        f"modprobe -a virtio_net {' '.join(MODULES)}\n"
        f"ip addr replace {ADDRESS}/24 dev {LINK}; ip link set {LINK} up; ip link set lo up\n"
        f"ip route replace default via {GATEWAY}\n"
        f"ip addr replace {layout.node_ip(0)}/32 dev lo\n"
        # ovn-controller makes tunnels that take only what is sent to this address.
        + f"ip addr replace {encap_ip}/{24 if encap_ip == ADDRESS else 32} dev {LINK}\n"
        + "".join(f"mkdir -p {path}; mount -t tmpfs plain {path}\n" for path in PLAIN)
        + "mount --make-rshared /",
        timeout=120,
    )
    switch.start_switch(guest, encap_ip, datapath="system")
    switch.spawn_controller(guest)
    (directory / layout.BOOTED).write_text(os.uname().release)
    os.execv(sys.executable, [sys.executable, "-m", "testbed.exec_agent", str(PORT)])  # noqa: S606 - replaces itself


if __name__ == "__main__":
    stay_as_reaper()
    main(*sys.argv[1:])
