"""The Debian packages of a bed: `python -m testbed.packages [--kernel] [--image] [--firewalls]`.

It is the first program that runs on a fresh machine, so it needs nothing but /usr/bin/python3.
Installing starts, enables and reconfigures no service: the machine's own Open vSwitch, containerd
and etcd stay as they were, or stay off.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed import cache, progress

# Each with its use: one without a use goes.
BED = {
    "openvswitch-switch": "ovsdb-server, ovs-vswitchd and their tools",
    "ovn-central": "northd and the two databases",
    "ovn-host": "ovn-controller",
    "etcd-server": "the API server's store",
    "etcd-client": "compacts the store's history",
    "kubernetes-client": "kubectl",
    "containerd": "the runtime, and ctr to import images",
    "runc": "starts containers",
    "containernetworking-plugins": "reference plugins: loopback, portmap, bridge to compare with",
    "iproute2": "ip, tc, bridge",
    "iptables": "kube-proxy's and kubelet's rules",
    "nftables": "the inventory's view of rules",
    "ipset": "the sets that kube-ovn-cni leaves behind",
    "ethtool": "checksum offload on underlay links",
    "conntrack": "kube-proxy flushes entries with it",
    "dnsmasq-base": "the DNS server behind a Service; DHCP and router advertisements of an uplink",
    "isc-dhcp-client": "a lease on a node's uplink, whose client lets it move",
    "dhcpcd-base": "a lease on a node's uplink, whose client sets it again",
    "systemd": "systemd-networkd alone, which configures a node's uplink",
    "iputils-ping": "pings that count losses",
    "iperf3": "throughput",
    "tcpdump": "what is really on the wire",
    "procps": "sysctl for the inventory",
    "util-linux": "nsenter, unshare",
    "mount": "private run and log directories",
    "busybox-static": "the pause image and the test pods",
    "mmdebstrap": "the root of the agent's image",
    "debian-archive-keyring": "apt verifies with it",
    "dpkg-dev": "unpacks the Kubernetes source",
    "xz-utils": "unpacks the Kubernetes source",
    "zstd": "packs image layers",
    "gcc": "compiles the plugin",
    "make": "runs every target",
    "libfaketime": "another clock for some of a bed's processes",
    "prometheus": "scrapes an agent; its promtool tests the alert rules",
    "minisign": "signs a release",
    "musl-tools": "a static plugin without glibc's weight",
    "python3-venv": "the project's environment",
}
KERNEL = {
    "qemu-system-x86": "boots a stock kernel",
    "virtiofsd": "gives it this machine's files",
    "kmod": "lists its modules' dependencies",
}
IMAGE = {
    "buildah": "builds the Dockerfile",
    "netavark": "buildah does not start without it",
}
FIREWALLS = {
    "firewalld": "a firewall with a table of its own, by a daemon",
    "ufw": "a firewall in the chains of iptables",
    "dbus-daemon": "firewalld does not start without a bus",
}
POLICY = Path("/usr/sbin/policy-rc.d")
SAVED = Path("/usr/sbin/policy-rc.d.saved-by-ovnlet")
DENY = (
    "#!/bin/sh\n"
    "# Written by ovnlet's testbed.packages while it installs; gone when it ends.\n"
    "exit 101\n"
)
OPTIONS = (
    "APT::Get::Assume-Yes=true",
    "APT::Get::Upgrade=false",
    "APT::Install-Recommends=false",
    "Acquire::Retries=3",
    "DPkg::Lock::Timeout=300",
    "Dpkg::Options::=--force-confold",
    "Dpkg::Use-Pty=0",
    "quiet=1",
)
UNITS = Path("/etc/systemd/system")


def missing(names: Sequence[str]) -> list[str]:
    """Return the packages that dpkg does not have installed, by one call for all of them."""
    output = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *names],
        capture_output=True,
        text=True,
        check=False,  # its status is 1 if some packages are unknown
    ).stdout
    installed = [line for line in output.splitlines() if line.startswith("installed ")]
    there = {line.split(" ")[1] for line in installed}
    return [name for name in names if name not in there]


def ensure(*, kernel: bool = False, image: bool = False, firewalls: bool = False) -> list[str]:
    """Install the missing packages and return their names.

    SystemExit if packages are missing and this process is not root, or if apt fails.
    """
    names = [*BED, *(KERNEL if kernel else ()), *(IMAGE if image else ())]
    names += FIREWALLS if firewalls else ()
    if not missing(names) and not _killed_run():
        return []
    # The lock is on the directory of policy-rc.d, which two runs must not change at once.
    with cache.locked(POLICY.parent):
        _recover()
        wanted = missing(names)
        if wanted:
            _install(wanted)
        return wanted


def _install(names: list[str]) -> None:
    if os.geteuid():
        raise SystemExit(
            f"these packages are missing and only root installs them: {' '.join(names)}"
        )
    env = os.environ | {
        "DEBIAN_FRONTEND": "noninteractive",
        "SYSTEMD_OFFLINE": "1",
        "NEEDRESTART_SUSPEND": "1",
    }
    with progress.step("update apt's lists"):
        progress.run(["apt-get", "-q", "update"], env=env)
    with progress.step(f"install {len(names)} packages") as step, _services_stay_off():
        progress.run(
            ["apt-get", *(f"-o{option}" for option in OPTIONS), "install", *names],
            env=env,
            on_line=lambda line: step.note(line.strip()[:60]),
        )


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Let no service start (policy-rc.d), and leave none enabled for the next boot."""
    before = _enabled()
    with _policy_denies():
        try:
            yield
        finally:
            new = sorted(_enabled() - before)
            if new and shutil.which("systemctl"):
                # Later upgrades of the packages respect `systemctl disable`.
                progress.run(
                    ["systemctl", "disable", *new], env=os.environ | {"SYSTEMD_OFFLINE": "1"}
                )


def _enabled() -> set[str]:
    """Return the units that another unit pulls in, which is how a unit is enabled."""
    return {path.name for kind in ("wants", "requires") for path in UNITS.glob(f"*.{kind}/*")}


@contextmanager
def _policy_denies() -> Iterator[None]:
    """Install a policy-rc.d that denies everything, and restore the machine's own afterwards."""
    if POLICY.exists():
        POLICY.rename(SAVED)
    try:
        POLICY.write_text(DENY)
        POLICY.chmod(0o755)
        yield
    finally:
        _recover()


def _recover() -> None:
    """Restore the machine's own policy-rc.d, or remove ours if it had none."""
    if SAVED.exists():
        SAVED.replace(POLICY)
    elif _killed_run():
        POLICY.unlink()


def _killed_run() -> bool:
    """Return whether a killed run has left its policy-rc.d."""
    return SAVED.exists() or (POLICY.exists() and POLICY.read_text() == DENY)


def main() -> None:
    """Install what the command line asks for and print the names."""
    parser = argparse.ArgumentParser(prog="testbed.packages", description=__doc__)
    parser.add_argument(
        "--kernel", action="store_true", help="also what boots a stock kernel: " + ", ".join(KERNEL)
    )
    parser.add_argument(
        "--image", action="store_true", help="also what builds the Dockerfile: " + ", ".join(IMAGE)
    )
    parser.add_argument(
        "--firewalls", action="store_true", help="also firewalls: " + ", ".join(FIREWALLS)
    )
    chosen = parser.parse_args()
    installed = ensure(kernel=chosen.kernel, image=chosen.image, firewalls=chosen.firewalls)
    print(f"installed: {' '.join(installed)}" if installed else "all packages are there")


if __name__ == "__main__":
    main()
