"""A space's own mounts and control groups: nothing in a space can write to the machine's.

/etc, /opt and /var are overlays over the machine's, /run is a tmpfs, and directories that keep
state start empty.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from testbed import layout

CGROUPS = Path("/sys/fs/cgroup")
BOOT_ID = "kernel/random/boot_id"
# Empty at first, even if the machine's own OVS, containerd or Kubernetes keeps state there.
FRESH = (
    *("/etc/cni", "/etc/kubernetes", "/etc/openvswitch", "/opt/cni", "/var/log"),
    *(
        "/var/lib/cni",
        "/var/lib/containerd",
        "/var/lib/kubelet",
        "/var/lib/openvswitch",
        "/var/lib/ovn",
    ),
)
# kubelet sets these for the whole machine if they differ. In a space they are files that already
# have the values it wants.
SHIELDED = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def make_cgroups(name: str) -> list[Path]:
    """Create and return one group per v1 controller.

    A cpuset accepts no process before it has processors and memory, so it gets its parent's.
    """
    groups = []
    for controller in sorted(path for path in CGROUPS.iterdir() if path.name != "unified"):
        group = controller / name
        group.mkdir(exist_ok=True)
        for fact in ("cpuset.cpus", "cpuset.mems"):
            if (group / fact).exists():
                (group / fact).write_text((controller / fact).read_text())
        groups.append(group)
    return groups


def setup(bed: str, name: str, directory: Path, *, network: bool, groups: list[Path]) -> list[str]:
    """Return the shell lines that turn a copy of the machine's mounts into the space's own."""
    home = layout.directory(bed)
    lines = [f"hostname {name}"]
    # A copy of another bed's tmpfs, or of a named network namespace, would keep it in existence
    # after its owner has removed it.
    lines += [
        "for point in $(cut -d' ' -f5 /proc/self/mountinfo); do case $point in",
        f"  {home}) ;; /run/*) umount -nl $point 2>/dev/null || : ;;",
        "esac; done",
    ]
    for top in ("etc", "opt", "var"):
        upper, work = directory / top / "upper", directory / top / "work"
        lines += [f"mkdir -p {upper} {work}"]
        lines += [
            f"mount -n -t overlay {name} -o lowerdir=/{top},upperdir={upper},workdir={work} /{top}"
        ]
    for fresh in FRESH:
        lines += [
            f"mkdir -p {directory}/fresh{fresh} {fresh}",
            f"mount -n --bind {directory}/fresh{fresh} {fresh}",
        ]
    run = directory / "run"
    lines += [
        f"mkdir -p {run}",
        f"mount -n -t tmpfs {name} {run}",
        f"mkdir -p {run}/{home.relative_to('/run')}",
    ]
    lines += [
        f"mount -n --bind {home} {run}/{home.relative_to('/run')}",
        f"mount -n --move {run} /run",
    ]
    lines += [
        "mkdir -p /run/lock /run/netns /run/openvswitch /run/ovn /var/log/openvswitch /var/log/ovn"
    ]
    if network:
        lines += ["mount -n -t sysfs sysfs /sys", "ip link set lo up"]
    lines += _cgroup_mounts(name, groups) + _shields(directory)
    # kubelet, and mounts with HostToContainer, need shared mounts. They are not shared with the
    # machine's.
    lines += [
        "mount -n --make-rshared /",
        f"exec env --ignore-signal=CHLD --argv0={name} sleep infinity",
    ]
    return lines


def _cgroup_mounts(name: str, groups: list[Path]) -> list[str]:
    if not groups:
        return []
    lines = [f"mount -n -t tmpfs {name} {CGROUPS}"]
    for group in groups:
        controller = group.parent.name
        options = "none,name=systemd" if controller == "systemd" else controller
        lines += [
            f"mkdir {CGROUPS}/{controller}",
            f"mount -n -t cgroup -o {options} cgroup {CGROUPS}/{controller}",
        ]
    return lines


def _shields(directory: Path) -> list[str]:
    lines = [f"mkdir -p {directory}/shield"]
    boot = {BOOT_ID: str(uuid.uuid4())}
    for number, (path, value) in enumerate((SHIELDED | boot).items()):
        shield = f"{directory}/shield/{number}"
        lines += [f"echo {value} >{shield}", f"mount -n --bind {shield} /proc/sys/{path}"]
    return lines
