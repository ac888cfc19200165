"""The calls that kube-ovn-cni makes for one ADD in its veth path, in their order, without its ARP
probe.

`ovs-vsctl` is the same program with the same arguments. Links are made with `ip`, where
kube-ovn-cni uses netlink in Go, which is faster: so the share of `ovs-vsctl` is measured
separately. Its API calls, QoS rates and gateway checks are left out; what it reads from OVSDB for
a pod without any of these is here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from proofs.bench import processes
from proofs.bench.processes import Done, Job

POLL_SECONDS = 0.5  # between two reads of ovn-installed, as in kube-ovn-cni
MAX_POLLS = 60
AT_ONCE = 100  # kube-ovn-cni's --ovs-vsctl-concurrency


@dataclass(slots=True)
class Pod:
    """The arguments of one ADD; `vsctl_ms` grows with each call of ovs-vsctl."""

    netns: str
    link: str
    mac: str
    address: str
    gateway: str
    mtu: str
    iface_id: str
    vsctl_ms: float = 0

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl once and return its output.

        Repeat it while ovsdb-server's listen queue is full, as with a hundred at once; there the
        ADD fails by it. Raise RuntimeError if it fails otherwise.
        """
        for _ in range(100):
            done = processes.one(Job(["ovs-vsctl", "--timeout=30", *words]))
            self.vsctl_ms += done.ms
            if done.code == 0:
                return done.out.strip()
            if "connection failed" not in done.out:
                break
            time.sleep(0.01)
        raise RuntimeError(f"ovs-vsctl {' '.join(words)}: status {done.code}: {done.out.strip()}")

    def _find(self, table: str, *conditions: str) -> str:
        options = ("--no-heading", "--data=bare", "--columns=_uuid")
        return self.vsctl(*options, "find", table, *conditions)

    def add(self) -> None:
        """Attach the pod. Raise RuntimeError if a step fails or OVN does not install the port."""
        link, inner = self.link, f"{self.link[:-2]}_c"
        by_iface_id = f"external-ids:iface-id={self.iface_id}"
        make = f"link add {link} mtu {self.mtu} type veth peer name {inner} mtu {self.mtu}"
        _run_checked(["ip", *make.split()])
        self._find("Interface", by_iface_id, f'name!="{link}"')
        self._port()
        _run_checked(["ip", "link", "set", link, "up", "txqueuelen", "1000"])
        self._rates(by_iface_id)
        if (
            self.vsctl("--bare", "--columns=datapath_type", "find", "bridge", "name=br-int")
            == "netdev"
        ):
            _run_checked(["ethtool", "-K", inner, "tx", "off"])
        self._wait_installed()
        self._mirror(by_iface_id)
        self._configure_pod(inner)

    def _port(self) -> None:
        pod, _, namespace = self.iface_id.partition(".")
        # kube-ovn-cni writes vendor=kube-ovn, but the agent would adopt such a port.
        labels = [
            f"iface-id={self.iface_id}",
            "vendor=the-rival",
            f"pod_name={pod}",
            f"pod_namespace={namespace}",
        ]
        labels += [f"pod_netns={self.netns}", f"ip={self.address.partition('/')[0]}"]
        settings = [f"external_ids:{label}" for label in labels]
        self.vsctl(
            "--may-exist",
            "add-port",
            "br-int",
            self.link,
            "--",
            "set",
            "interface",
            self.link,
            *settings,
        )

    def _rates(self, by_iface_id: str) -> None:
        """Make the calls for bandwidth, and the two for netem.

        For bandwidth they find the interface, look for QoS and Queue rows, and set policing.
        """
        for table in ("interface", "qos", "queue"):
            self._find(table, by_iface_id)
        self.vsctl(
            "set", "interface", self.link, "ingress_policing_rate=0", "ingress_policing_burst=0"
        )
        for table in ("interface", "qos"):
            self._find(table, by_iface_id)

    def _wait_installed(self) -> None:
        for _ in range(MAX_POLLS):
            if (
                self.vsctl(
                    "--if-exists", "get", "interface", self.link, "external-ids:ovn-installed"
                )
                == '"true"'
            ):
                return
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"{self.link}: no ovn-installed")

    def _mirror(self, by_iface_id: str) -> None:
        """Make the three calls for a pod without a mirror."""
        for table in ("interface", "port", "mirror"):
            condition = by_iface_id if table == "interface" else f'name="{self.link}"'
            self._find(table, condition)

    def _configure_pod(self, inner: str) -> None:
        netns = self.netns.rpartition("/")[2]
        _run_checked(["ip", "link", "set", inner, "alias", inner, "netns", netns])
        steps = [f"link set {inner} name eth0 address {self.mac} mtu {self.mtu} up"]
        steps += [
            f"address add {self.address} dev eth0",
            f"route replace default via {self.gateway}",
        ]
        _run_checked(["ip", "-n", netns, "-batch", "-"], "\n".join(steps))


def together(pods: Sequence[Sequence[str]]) -> list[Done]:
    """Attach all pods at once, each in a thread, as each request there has a goroutine."""
    with ThreadPoolExecutor(min(len(pods), AT_ONCE)) as pool:
        return list(pool.map(_timed, pods))


def _timed(words: Sequence[str]) -> Done:
    netns, link, mac, address, gateway, mtu, iface_id = words
    pod, began = Pod(netns, link, mac, address, gateway, mtu, iface_id), perf_counter()
    try:
        pod.add()
    except RuntimeError as error:
        return Done(0, 1, str(error))
    return Done((perf_counter() - began) * 1000, 0, "", pod.vsctl_ms)


def _run_checked(argv: Sequence[str], stdin: str = "") -> Done:
    done = processes.one(Job(argv, stdin=stdin))
    if done.code:
        raise RuntimeError(f"{' '.join(argv)}: status {done.code}: {done.out.strip()}")
    return done
