"""The agent's settings: names, defaults, bounds. Read once at start, never changed."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, field_validator

Repair = Literal["fix", "report", "off"]
_Path = Annotated[str, Field(pattern=r"^/[^\x00]*$")]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_REMOTE = r"(unix:/[^,]+|(tcp|ssl):[^,]+:\d+)"


class Settings(BaseModel):
    """Each is a flag (``--node-name``), an environment variable (``OVNLET_NODE_NAME``) or a key of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")] = Field(
        description="the Node object this agent serves"
    )
    bridge: Annotated[str, Field(min_length=1, max_length=15)] = Field(
        "br-int", description="OVN's integration bridge"
    )
    mtu: Annotated[int, Field(ge=0, le=65535)] = Field(
        0,
        description="MTU of pods in bytes; 0 takes that of the tunnel's link less the encapsulation",
    )
    chassis: Literal["manage", "observe"] = Field(
        "observe",
        description="bring OVN's keys of Open_vSwitch.external_ids and the bridge back, or only tell",
    )
    ovn_remote: str | None = Field(
        None, description="OVN's southbound database; without it, what is set in OVSDB"
    )
    encap_type: Literal["geneve", "vxlan", "stt"] | None = Field(
        None, description="the tunnels' kind; likewise"
    )
    encap_ip: IPvAnyAddress | None = Field(None, description="the tunnels' own address; likewise")
    cluster_cidrs: str = Field(
        "",
        description="prefixes of the cluster's subnets, comma separated, beside those of Subnet objects",
    )
    ovsdb: _Path = Field("/run/openvswitch/db.sock", description="socket of the local ovsdb-server")
    ovn_run_dir: _Path = Field("/run/ovn", description="where ovn-controller's control socket is")
    run_dir: _Path = Field(
        "/run/ovnlet", description="sandbox records; must be a tmpfs of the host"
    )
    cni_socket: _Path = Field("/run/ovnlet/cni.sock", description="socket the CNI plugin calls")
    cni_bin_dir: _Path | None = Field(
        None, description="host directory to install the plugin into; none to leave it"
    )
    cni_conf_dir: _Path | None = Field(
        None, description="host directory to write the CNI configuration into"
    )
    plugin: _Path = Field("/opt/ovnlet/bin/ovnlet", description="the plugin executable to install")
    http: Annotated[str, Field(pattern=r"^(\d+(\.\d+){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$")] | None = (
        Field(
            None,
            description="address and port of probes and metrics, such as 127.0.0.1:9441; none to serve no HTTP",
        )
    )
    kubeconfig: _Path | None = Field(
        None, description="credentials; the pod's service account where none is given"
    )
    api_server: Annotated[str, Field(pattern=r"^https://[^/\s]+$")] | None = Field(
        None,
        description="URL of the API server, for a node where its Service is not reachable (no kube-proxy yet)",
    )
    sysctl_dir: _Path = Field(
        "/proc/sys/net", description="where the node's /proc/sys/net is mounted"
    )
    add_budget: Annotated[float, Field(ge=1, le=200)] = Field(
        110, description="seconds an ADD may take in all"
    )
    resync: Annotated[float, Field(ge=1, le=86400)] = Field(
        60, description="seconds between full looks"
    )
    repair: Repair = Field(
        "fix",
        description="drift on a running pod: repair it, only tell of it, or do not look; calls and edits always act",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="lines for people or for a collector"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity shown"
    )

    @field_validator("mtu")
    @classmethod
    def _carries_ipv6(cls, value: int) -> int:
        if 0 < value < 1280:
            raise ValueError("0, or at least 1280: the kernel takes IPv6 off a link with less")
        return value

    @field_validator("bridge")
    @classmethod
    def _is_a_link_name(cls, value: str) -> str:
        if "/" in value or value.split() != [value]:
            raise ValueError("a link's name: no slash, no white space")
        return value

    @field_validator("cluster_cidrs")
    @classmethod
    def _are_prefixes(cls, value: str) -> str:
        if any(network.prefixlen == 0 for network in _networks(value)):
            raise ValueError("prefixes that are not everything")
        return value

    @property
    def clusters(self) -> frozenset[IPv4Network | IPv6Network]:
        return _networks(self.cluster_cidrs)

    @property
    def chassis_ids(self) -> dict[str, str]:
        """The chassis keys that are given, by OVN's names for them."""
        given = {
            "ovn-remote": self.ovn_remote,
            "ovn-encap-type": self.encap_type,
            "ovn-encap-ip": self.encap_ip,
        }
        return {key: str(value) for key, value in given.items() if value is not None}


class ControllerSettings(BaseModel):
    """Of `ovnlet controller`; each likewise a flag, a variable and a key of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: _Name = Field(
        description="this replica's own name among those that may lead, such as its pod's"
    )
    ovn_nb: Annotated[str, Field(pattern=rf"^{_REMOTE}(,{_REMOTE})*$")] = Field(
        "unix:/run/ovn/ovnnb_db.sock",
        description="OVN's northbound database: unix:, tcp: or ssl:, several by commas",
    )
    ovn_key: _Path | None = Field(None, description="private key for ssl:, PEM")
    ovn_cert: _Path | None = Field(None, description="client certificate for ssl:, PEM")
    ovn_ca: _Path | None = Field(None, description="who signed the database's certificate, PEM")
    kubeconfig: _Path | None = Field(
        None, description="credentials; the pod's service account where none is given"
    )
    namespace: _Name = Field("ovnlet-system", description="where the Lease is kept")
    lease: _Name = Field("ovnlet-controller", description="the Lease by which one replica leads")
    lease_seconds: Annotated[float, Field(ge=2, le=60)] = Field(
        10, description="seconds without a sign of the leader after which another takes over"
    )
    cluster_router: _Name = Field(
        "ovn-cluster", description="the logical router that joins all subnets"
    )
    join_switch: _Name = Field("join", description="the logical switch of the nodes' own ports")
    join_cidr: str = Field(
        "100.64.0.0/16,fd00:100:64::/64",
        description="addresses of the nodes' own ports: one prefix of each family",
    )
    cool_down: Annotated[float, Field(ge=0, le=3600)] = Field(
        60, description="seconds before the address of a pod that ended is given to another"
    )
    resync: Annotated[float, Field(ge=1, le=86400)] = Field(
        60, description="seconds between full looks"
    )
    listen: Annotated[str, Field(pattern=r"^\S+:\d+$")] = Field(
        "127.0.0.1:10661", description="address and port of /metrics, /healthz and /readyz"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="lines for people or for a collector"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity shown"
    )


def _networks(text: str) -> frozenset[IPv4Network | IPv6Network]:
    return frozenset(ip_network(part.strip()) for part in text.split(",") if part.strip())
