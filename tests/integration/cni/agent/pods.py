"""Pods as the API server and OVN know them, and sandboxes of them."""

from dataclasses import dataclass

from ovnlet.core import ids
from testbed.assign import SWITCH


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod object with its addresses in OVN."""

    name: str
    uid: str
    number: int

    @property
    def mac(self) -> str:
        return f"0a:00:00:01:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def v4(self) -> str:
        return f"10.16.{self.number >> 8}.{self.number & 255}"

    @property
    def v6(self) -> str:
        return f"fd00:10:16::{self.number:x}"

    @property
    def port(self) -> str:
        return f"{self.name}.default"

    @property
    def annotations(self) -> dict[str, str]:
        facts = {
            "ip_address": f"{self.v4},{self.v6}",
            "cidr": "10.16.0.0/16,fd00:10:16::/64",
            "gateway": "10.16.0.1,fd00:10:16::1",
            "mac_address": self.mac,
            "logical_switch": SWITCH,
            "allocated": "true",
            "routed": "true",
        }
        return {f"ovn.kubernetes.io/{key}": value for key, value in facts.items()}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox of a pod, as a runtime creates it."""

    pod: Pod
    container_id: str

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.container_id}"

    @property
    def link(self) -> str:
        return ids.host_link(self.container_id, "eth0")

    @property
    def env(self) -> dict[str, str | None]:
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.pod.name};K8S_POD_UID={self.pod.uid}"
        return {
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_ARGS": f"IgnoreUnknown=1;{args}",
        }
