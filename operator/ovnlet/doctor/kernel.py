"""Examines kernel features, the capabilities of this process, and sysctls of the node."""

import os
from collections.abc import Iterator
from pathlib import Path

from ovnlet.core.errors import OvnletError
from ovnlet.core.resources.qos import HTB, NETEM, POLICE, TBF, module
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.links.kernel_features import KernelFeatures
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.linux import sysctl

# The agent needs each of these (by the kernel's numbers), as `make e2e-install` shows.
CAPABILITIES = {12: "NET_ADMIN", 21: "SYS_ADMIN", 11: "NET_BROADCAST", 13: "NET_RAW"}
# What the agent cannot enforce without a kind of qdisc or filter.
_LIMITS = {
    HTB: "rates towards pods (ingress_rate, kubernetes.io/ingress-bandwidth)",
    TBF: "rates from pods (egress_rate, kubernetes.io/egress-bandwidth)",
    NETEM: "latency, jitter, limit and loss",
    POLICE: "a second limit behind the one in the pod (bridge in the kernel)",
}
_FULL = 0.9  # of the conntrack table


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield findings about capabilities, qdiscs, nftables and sysctls."""
    yield from _capabilities()
    yield from _qdiscs()
    yield from _nftables()
    yield from _sysctls(settings.sysctl_dir)


def _capabilities() -> Iterator[Finding]:
    """Report capabilities that this process lacks in its effective set."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    lacking = [name for number, name in CAPABILITIES.items() if not effective >> number & 1]
    if lacking:
        names = ", ".join(lacking)
        yield fault(
            "rights",
            f"capability {names} is missing",
            f"add {names} to securityContext.capabilities.add",
        )
    else:
        yield ok("rights", f"capabilities {', '.join(CAPABILITIES.values())}")


def _qdiscs() -> Iterator[Finding]:
    """Report missing qdisc kinds as notes.

    A missing kind is a fault only with a pod whose limits need it, and the agent reports that.
    """
    try:
        lacking = KernelFeatures().lacking
    except OvnletError as error:
        yield fault(
            "kernel",
            f"the kinds of qdisc cannot be queried: {error}",
            "run the doctor with NET_ADMIN",
        )
        return
    for kind in sorted(lacking):
        yield note(
            "kernel",
            f"no {module(kind)}: {_LIMITS[kind]} cannot be enforced",
            install(module(kind)),
        )
    for kind in sorted(_LIMITS.keys() - lacking):
        yield ok("kernel", f"{module(kind)}: {_LIMITS[kind]}")


def _nftables() -> Iterator[Finding]:
    """Report whether the kernel has nf_tables, without which the node is no gateway."""
    what = "nf_tables: the node as a gateway: source NAT of subnets with natOutgoing"
    try:
        if Tables().is_there():
            yield ok("kernel", what)
        else:
            yield note(
                "kernel",
                f"no {what} is not done",
                "modprobe nf_tables on the node, or install a kernel with it",
            )
    except OvnletError as error:
        yield fault(
            "kernel", f"nf_tables cannot be queried: {error}", "run the doctor with NET_ADMIN"
        )


def install(name: str) -> str:
    """Return how to get a kernel module."""
    release = os.uname().release
    return (
        f"modprobe {name} on the node; if it has no such module, "
        f"install a kernel or modules package for {release} with it"
    )


def _sysctls(directory: str) -> Iterator[Finding]:
    """Report disabled IPv6 or forwarding, and a conntrack table that is nearly full.

    A full table makes the kernel drop packets of new connections.
    """
    if not Path(directory, "ipv6").exists():
        yield note(
            "sysctl",
            "IPv6 is disabled in this kernel",
            "boot without ipv6.disable=1 for pods with IPv6",
        )
    if sysctl.read(directory, "ipv4/ip_forward") == "0":
        yield note(
            "sysctl",
            "net.ipv4.ip_forward is 0",
            "sysctl -w net.ipv4.ip_forward=1 if hostPort is used",
        )
    count, most = (
        sysctl.read(directory, f"netfilter/nf_conntrack_{name}") for name in ("count", "max")
    )
    if count and most and int(count) > _FULL * int(most) > 0:
        yield fault(
            "sysctl",
            f"{count} of {most} tracked connections are in use",
            "sysctl -w net.netfilter.nf_conntrack_max",
        )
