"""The settings of the agent and the controller: names, defaults and bounds.

They are read once at start and never change.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, field_validator

Repair = Literal["fix", "report", "off"]
_Path = Annotated[str, Field(pattern=r"^/[^\x00]*$")]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_LISTEN = r"^(\d+(\.\d+){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$"
# As ``encap_ip``: each node's own.
INTERNAL_IP = "InternalIP"
_REMOTE = r"(unix:/[^,]+|(tcp|ssl):[^,]+:\d+)"


class Settings(BaseModel):
    """The settings of the agent.

    Each is a flag (``--node-name``), an environment variable (``OVNLET_NODE_NAME``) and a key of
    the configuration file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")] = Field(
        description="name of this node's Node object"
    )
    bridge: Annotated[str, Field(min_length=1, max_length=15)] = Field(
        "br-int", description="name of OVN's integration bridge"
    )
    mtu: Annotated[int, Field(ge=0, le=65535)] = Field(
        0,
        description="MTU of pods in bytes; 0 means the tunnel link's MTU minus the encapsulation",
    )
    chassis: Literal["manage", "observe"] = Field(
        "observe",
        description="repair the bridge and OVN's keys in Open_vSwitch.external_ids, "
        "or only report drift",
    )
    system_id: Annotated[str, Field(pattern=r"^[^\s/]+$")] | None = Field(
        None, description="this node's name as a chassis of OVN; default: the value in OVSDB"
    )
    ovn_remote: str | None = Field(
        None, description="address of OVN's southbound database; default: the value in OVSDB"
    )
    encap_type: Literal["geneve", "vxlan", "stt"] | None = Field(
        None, description="encapsulation of the tunnels; default: the value in OVSDB"
    )
    encap_ip: IPvAnyAddress | Literal["InternalIP"] | None = Field(
        None,
        description="this node's tunnel address, or InternalIP for that of its Node; "
        "the Node's annotation ovnlet.io/encap-ip takes precedence; default: the value in OVSDB",
    )
    encap: Literal["ovsdb", "node"] = Field(
        "ovsdb",
        description="where the tunnel address comes from: OVSDB has it, or the Node decides and "
        "ovn-encap-ip is kept, as by kube-ovn-cni",
    )
    tunnel_interface: str = Field(
        "",
        description="with `encap: node`, links that have the tunnel address: names or regular "
        "expressions, comma separated, as kube-ovn-cni's --iface; "
        "the Node's annotation overrides it",
    )
    cluster_cidrs: str = Field(
        "",
        description="prefixes of the cluster's subnets, comma separated, "
        "in addition to those of Subnet objects",
    )
    cluster_router: Annotated[str, Field(min_length=1)] = Field(
        "ovn-cluster",
        description="logical router whose Subnets the node routes to; Kube-OVN's --cluster-router",
    )
    no_snat: str = Field(
        "",
        description="destinations outside the cluster, comma separated, to which packets of pods "
        "keep the pod's address although their Subnet has natOutgoing",
    )
    ovsdb: _Path = Field("/run/openvswitch/db.sock", description="socket of the local ovsdb-server")
    ovn_run_dir: _Path = Field(
        "/run/ovn", description="directory of ovn-controller's control socket"
    )
    run_dir: _Path = Field(
        "/run/ovnlet",
        description="directory of the sandbox records; must be on a tmpfs of the host",
    )
    cni_socket: _Path = Field(
        "/run/ovnlet/cni.sock", description="socket that the CNI plugin calls"
    )
    kube_ovn_socket: _Path | None = Field(
        None,
        description="socket of kube-ovn-cni, on which its plugin is answered too; default: none",
    )
    kube_ovn_http: Annotated[str, Field(pattern=_LISTEN)] | None = Field(
        None,
        description="address and port at which dashboards look for kube-ovn-cni's metrics, "
        "such as 0.0.0.0:10665; default: none",
    )
    cni_bin_dir: _Path | None = Field(
        None, description="host directory to install the plugin in; default: do not install it"
    )
    cni_conf_dir: _Path | None = Field(
        None,
        description="host directory to write the CNI configuration to; default: do not write it",
    )
    plugin: _Path = Field("/opt/ovnlet/bin/ovnlet", description="plugin executable to install")
    http: Annotated[str, Field(pattern=_LISTEN)] | None = Field(
        None,
        description="address and port of probes and metrics, such as 127.0.0.1:9441; "
        "default: no HTTP",
    )
    kubeconfig: _Path | None = Field(
        None, description="credentials file; default: the pod's service account"
    )
    api_server: Annotated[str, Field(pattern=r"^https://[^/\s]+$")] | None = Field(
        None,
        description="URL of the API server, for a node that cannot reach its Service "
        "(no kube-proxy yet)",
    )
    sysctl_dir: _Path = Field(
        "/proc/sys/net", description="path at which the node's /proc/sys/net is mounted"
    )
    underlay: Literal["off", "plan", "manage"] = Field(
        "off",
        description="join the interfaces that ProviderNetworks name to bridges, with the node's "
        "addresses; only show in `ovnlet plan --node` what would be moved; or leave them alone",
    )
    underlay_timeout: Annotated[float, Field(ge=5, le=300)] = Field(
        30,
        description="seconds within which gateway and API server must answer again after an "
        "interface was moved; else everything goes back",
    )
    state_dir: _Path = Field(
        "/var/lib/ovnlet",
        description="directory of what must outlast a reboot: the records of moved interfaces; "
        "on a disk of the host",
    )
    add_budget: Annotated[float, Field(ge=1, le=200)] = Field(
        110, description="longest time for one ADD, in seconds"
    )
    resync: Annotated[float, Field(ge=1, le=86400)] = Field(
        60, description="seconds between two full checks of everything"
    )
    repair: Repair = Field(
        "fix",
        description="drift of running pods: fix it, only report it, or do not check; "
        "CNI calls and edits always apply",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="log lines for people (text) or for a log collector (json)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest severity that is logged"
    )

    @field_validator("mtu")
    @classmethod
    def _check_mtu(cls, value: int) -> int:
        if 0 < value < 1280:
            raise ValueError("0, or at least 1280: the kernel disables IPv6 on a link with less")
        return value

    @field_validator("bridge")
    @classmethod
    def _check_bridge(cls, value: str) -> str:
        if "/" in value or value.split() != [value]:
            raise ValueError("a link name, without slashes and white space")
        return value

    @field_validator("cluster_cidrs", "no_snat")
    @classmethod
    def _check_cluster_cidrs(cls, value: str) -> str:
        if any(network.prefixlen == 0 for network in _networks(value)):
            raise ValueError("prefixes longer than /0")
        return value

    @property
    def untranslated(self) -> frozenset[IPv4Network | IPv6Network]:
        """The parsed ``no_snat``."""
        return _networks(self.no_snat)

    @property
    def clusters(self) -> frozenset[IPv4Network | IPv6Network]:
        """The parsed ``cluster_cidrs``."""
        return _networks(self.cluster_cidrs)

    @property
    def chassis_ids(self) -> dict[str, str]:
        """The chassis keys that are set, by OVN's names for them."""
        given = {
            "system-id": self.system_id,
            "ovn-remote": self.ovn_remote,
            "ovn-encap-type": self.encap_type,
            "ovn-encap-ip": self.encap_ip,
        }
        return {
            key: str(value)
            for key, value in given.items()
            if value is not None and value != INTERNAL_IP
        }


class ControllerSettings(BaseModel):
    """The settings of `ovnlet controller`.

    Each is a flag, an environment variable and a key of the configuration file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: _Name = Field(
        description="unique name of this replica in leader election, such as its pod's name"
    )
    ovn_nb: Annotated[str, Field(pattern=rf"^{_REMOTE}(,{_REMOTE})*$")] = Field(
        "unix:/run/ovn/ovnnb_db.sock",
        description="OVN's northbound database: unix:, tcp: or ssl: addresses, comma separated; "
        "of a cluster, all members",
    )
    ovn_key: _Path | None = Field(None, description="private key for ssl:, a PEM file")
    ovn_cert: _Path | None = Field(None, description="client certificate for ssl:, a PEM file")
    ovn_ca: _Path | None = Field(
        None, description="CA certificate of the database's server for ssl:, a PEM file"
    )
    kubeconfig: _Path | None = Field(
        None, description="credentials file; default: the pod's service account"
    )
    namespace: _Name = Field("ovnlet-system", description="namespace of the Lease")
    lease: _Name = Field(
        "ovnlet-controller", description="name of the Lease that elects the leader"
    )
    lease_seconds: Annotated[float, Field(ge=2, le=60)] = Field(
        10,
        description="seconds without renewal of the Lease after which another replica leads",
    )
    cluster_router: _Name = Field(
        "ovn-cluster", description="logical router that connects all subnets"
    )
    join_switch: _Name = Field("join", description="logical switch of the nodes' own ports")
    join_cidr: str = Field(
        "100.64.0.0/16,fd00:100:64::/64",
        description="prefixes for the nodes' own ports, comma separated, at most one per family",
    )
    cool_down: Annotated[float, Field(ge=0, le=3600)] = Field(
        60, description="seconds before the address of a pod that has ended may go to another pod"
    )
    resync: Annotated[float, Field(ge=1, le=86400)] = Field(
        60, description="seconds between two full checks of everything"
    )
    listen: Annotated[str, Field(pattern=r"^\S+:\d+$")] = Field(
        "127.0.0.1:10661", description="address and port of /metrics, /healthz and /readyz"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="log lines for people (text) or for a log collector (json)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest severity that is logged"
    )


def _networks(text: str) -> frozenset[IPv4Network | IPv6Network]:
    return frozenset(ip_network(part.strip()) for part in text.split(",") if part.strip())
