"""The settings of the agent and the controller: names, defaults and bounds.

They are read once at start and never change.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, get_args

from ovnlet.core.setting import Validated, setting
from ovnlet.core.setting_values import (
    INTERNAL_IP,
    LISTEN,
    NAME,
    PATH,
    REMOTE,
    check_mtu,
    check_prefixes,
    networks,
)

Repair = Literal["fix", "report", "off"]
PodNetwork = Literal["primary", "secondary"]


@dataclass(frozen=True, kw_only=True)
class Settings(Validated):
    """The settings of the agent.

    Each is a flag (``--node-name``), an environment variable (``OVNLET_NODE_NAME``) and a key of
    the configuration file.
    """

    node_name: str = setting("name of this node's Node object", is_required=True, pattern=NAME)
    bridge: str = setting("name of OVN's integration bridge", "br-int", pattern=r"^[^/\s]{1,15}$")
    mtu: int = setting(
        "MTU of pods in bytes; 0 means the tunnel link's MTU minus the encapsulation",
        0,
        number=int,
        bounds=(0, 65535),
        check=check_mtu,
    )
    pod_network: PodNetwork = setting(
        "primary: the first interface of each pod is ovnlet's; secondary: it is another "
        "plugin's, so there is no ovn0, no gateway, no NetworkUnavailable condition and no CNI "
        "configuration, and only further networks are attached; "
        "Kube-OVN's --non-primary-cni-mode",
        "primary",
        words=get_args(PodNetwork),
    )
    chassis: Literal["manage", "observe"] = setting(
        "repair the bridge and OVN's keys in Open_vSwitch.external_ids, or only report drift",
        "observe",
        words=("manage", "observe"),
    )
    system_id: str | None = setting(
        "this node's name as a chassis of OVN; default: the value in OVSDB", pattern=r"^[^\s/]+$"
    )
    ovn_remote: str | None = setting(
        "address of OVN's southbound database; default: the value in OVSDB"
    )
    encap_type: Literal["geneve", "vxlan", "stt"] | None = setting(
        "encapsulation of the tunnels; default: the value in OVSDB",
        words=("geneve", "vxlan", "stt"),
    )
    encap_ip: IPv4Address | IPv6Address | Literal["InternalIP"] | None = setting(
        "this node's tunnel address, or InternalIP for that of its Node; "
        "the Node's annotation ovnlet.io/encap-ip takes precedence; default: the value in OVSDB",
        words=(INTERNAL_IP,),
        is_address=True,
    )
    encap: Literal["ovsdb", "node"] = setting(
        "where the tunnel address comes from: OVSDB has it, or the Node decides and "
        "ovn-encap-ip is kept, as by kube-ovn-cni",
        "ovsdb",
        words=("ovsdb", "node"),
    )
    tunnel_interface: str = setting(
        "with `encap: node`, links that have the tunnel address: names or regular "
        "expressions, comma separated, as kube-ovn-cni's --iface; "
        "the Node's annotation overrides it",
        "",
    )
    cluster_cidrs: str = setting(
        "prefixes of the cluster's subnets, comma separated, "
        "in addition to those of Subnet objects",
        "",
        check=check_prefixes,
    )
    cluster_router: str = setting(
        "logical router whose Subnets the node routes to; Kube-OVN's --cluster-router",
        "ovn-cluster",
        pattern=r"^.+$",
    )
    no_snat: str = setting(
        "destinations outside the cluster, comma separated, to which packets of pods "
        "keep the pod's address although their Subnet has natOutgoing",
        "",
        check=check_prefixes,
    )
    ovsdb: str = setting(
        "socket of the local ovsdb-server", "/run/openvswitch/db.sock", pattern=PATH
    )
    ovn_run_dir: str = setting(
        "directory of ovn-controller's control socket", "/run/ovn", pattern=PATH
    )
    run_dir: str = setting(
        "directory of the sandbox records; must be on a tmpfs of the host",
        "/run/ovnlet",
        pattern=PATH,
    )
    cni_socket: str = setting(
        "socket that the CNI plugin calls", "/run/ovnlet/cni.sock", pattern=PATH
    )
    kube_ovn_socket: str | None = setting(
        "socket of kube-ovn-cni, on which its plugin is answered too; default: none", pattern=PATH
    )
    tproxy: Literal["off", "on"] = setting(
        "lead kubelet's probes of pods in other VPCs into the pods", "off", words=("off", "on")
    )
    kube_ovn_http: str | None = setting(
        "address and port at which dashboards look for kube-ovn-cni's metrics, "
        "such as 0.0.0.0:10665; default: none",
        pattern=LISTEN,
    )
    cni_bin_dir: str | None = setting(
        "host directory to install the plugin in; default: do not install it", pattern=PATH
    )
    cni_conf_dir: str | None = setting(
        "host directory to write the CNI configuration to; default: do not write it", pattern=PATH
    )
    plugin: str = setting("plugin executable to install", "/opt/ovnlet/bin/ovnlet", pattern=PATH)
    http: str | None = setting(
        "address and port of probes and metrics, such as 127.0.0.1:9441; default: no HTTP",
        pattern=LISTEN,
    )
    otlp: str | None = setting(
        "collector that gets OpenTelemetry traces of ADDs by OTLP over HTTP, such as "
        "http://127.0.0.1:4318; default: no traces",
        pattern=r"^https?://[^/\s]+(/\S*)?$",
    )
    kubeconfig: str | None = setting(
        "credentials file; default: the pod's service account", pattern=PATH
    )
    api_server: str | None = setting(
        "URL of the API server, for a node that cannot reach its Service (no kube-proxy yet)",
        pattern=r"^https://[^/\s]+$",
    )
    sysctl_dir: str = setting(
        "path at which the node's /proc/sys/net is mounted", "/proc/sys/net", pattern=PATH
    )
    underlay: Literal["off", "plan", "manage"] = setting(
        "join the interfaces that ProviderNetworks name to bridges, with the node's "
        "addresses; only show in `ovnlet plan --node` what would be moved; or leave them alone",
        "off",
        words=("off", "plan", "manage"),
    )
    underlay_timeout: float = setting(
        "seconds within which gateway and API server must answer again after an "
        "interface was moved; else everything goes back",
        30,
        number=float,
        bounds=(5, 300),
    )
    underlay_lease: str | None = setting(
        "NAMESPACE/NAME of a Lease by which nodes move interfaces one by one; default: at once",
        pattern=r"^[a-z0-9][-a-z0-9]{0,62}/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$",
    )
    arp_detect_ip_conflict: Literal["off", "on"] = setting(
        "before a pod of a provider network starts, ask that network for up to 1.2 s whether "
        "another machine has its addresses; Kube-OVN's --enable-arp-detect-ip-conflict",
        "off",
        words=("off", "on"),
    )
    systemd_dir: str | None = setting(
        "host directory of systemd's units, for a drop-in by which a reboot finds moved "
        "interfaces outside of their bridges; default: do not write it",
        pattern=PATH,
    )
    state_dir: str = setting(
        "directory, on a disk of the host, of what outlasts a reboot: moved interfaces",
        "/var/lib/ovnlet",
        pattern=PATH,
    )
    add_budget: float = setting(
        "longest time for one ADD, in seconds", 110, number=float, bounds=(1, 200)
    )
    resync: float = setting(
        "seconds between two full checks of everything", 60, number=float, bounds=(1, 86400)
    )
    repair: Repair = setting(
        "drift of running pods: fix it, only report it, or do not check; "
        "CNI calls and edits always apply",
        "fix",
        words=get_args(Repair),
    )
    log_format: Literal["text", "json"] = setting(
        "log lines for people (text) or for a log collector (json)", "text", words=("text", "json")
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "lowest severity that is logged", "info", words=("debug", "info", "warning", "error")
    )

    @property
    def untranslated(self) -> frozenset[IPv4Network | IPv6Network]:
        """The parsed ``no_snat``."""
        return networks(self.no_snat)

    @property
    def clusters(self) -> frozenset[IPv4Network | IPv6Network]:
        """The parsed ``cluster_cidrs``."""
        return networks(self.cluster_cidrs)

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


@dataclass(frozen=True, kw_only=True)
class ControllerSettings(Validated):
    """The settings of `ovnlet controller`.

    Each is a flag, an environment variable and a key of the configuration file.
    """

    identity: str = setting(
        "unique name of this replica in leader election, such as its pod's name",
        is_required=True,
        pattern=NAME,
    )
    ovn_nb: str = setting(
        "OVN's northbound database: unix:, tcp: or ssl: addresses, comma separated; "
        "of a cluster, all members",
        "unix:/run/ovn/ovnnb_db.sock",
        pattern=rf"^{REMOTE}(,{REMOTE})*$",
    )
    ovn_key: str | None = setting("private key for ssl:, a PEM file", pattern=PATH)
    ovn_cert: str | None = setting("client certificate for ssl:, a PEM file", pattern=PATH)
    ovn_ca: str | None = setting(
        "CA certificate of the database's server for ssl:, a PEM file", pattern=PATH
    )
    kubeconfig: str | None = setting(
        "credentials file; default: the pod's service account", pattern=PATH
    )
    namespace: str = setting("namespace of the Lease", "ovnlet-system", pattern=NAME)
    lease: str = setting(
        "name of the Lease that elects the leader", "ovnlet-controller", pattern=NAME
    )
    lease_seconds: float = setting(
        "seconds without renewal of the Lease after which another replica leads",
        10,
        number=float,
        bounds=(2, 60),
    )
    cluster_router: str = setting(
        "logical router that connects all subnets", "ovn-cluster", pattern=NAME
    )
    join_switch: str = setting("logical switch of the nodes' own ports", "join", pattern=NAME)
    join_cidr: str = setting(
        "prefixes for the nodes' own ports, comma separated, at most one per family",
        "100.64.0.0/16,fd00:100:64::/64",
    )
    pod_network: PodNetwork = setting(
        "primary: each pod and node gets a port; secondary: only what pods list as further "
        "networks does, as the first interface is another plugin's",
        "primary",
        words=get_args(PodNetwork),
    )
    cool_down: float = setting(
        "seconds before the address of a pod that has ended may go to another pod",
        60,
        number=float,
        bounds=(0, 3600),
    )
    resync: float = setting(
        "seconds between two full checks of everything", 60, number=float, bounds=(1, 86400)
    )
    listen: str = setting(
        "address and port of /metrics, /healthz and /readyz",
        "127.0.0.1:10661",
        pattern=r"^\S+:\d+$",
    )
    log_format: Literal["text", "json"] = setting(
        "log lines for people (text) or for a log collector (json)", "text", words=("text", "json")
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "lowest severity that is logged", "info", words=("debug", "info", "warning", "error")
    )
