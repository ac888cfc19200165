"""Open vSwitch on each node and OVN's databases in the control space.

The datapath is in userspace, except in a node that has its own kernel.
"""

from __future__ import annotations

from testbed import layout, pki
from testbed.processes import host_pid, start_time
from testbed.service import Service, wait_for
from testbed.space import Space

INTEGRATION, TUNNEL_BRIDGE = "br-int", "br-ext"
DB = "unix:/run/openvswitch/db.sock"
REMOTES = "--remote=db:Open_vSwitch,Open_vSwitch,manager_options"
CONSOLE = ("-vconsole:info", "-vsyslog:off", "-vfile:off")
VSWITCHD = ("ovs-vswitchd", DB, "--pidfile", *CONSOLE)
# What the reload of Debian's unit ovs-vswitchd calls: it saves all flows, and restores them before
# the new process forwards.
RELOAD = (
    *("/usr/share/openvswitch/scripts/ovs-ctl", "--no-ovsdb-server", "--no-monitor"),
    *("--system-id=random", "--no-record-hostname", "restart"),
)
SCHEMAS = {
    "nb": ("/usr/share/ovn/ovn-nb.ovsschema", layout.NB_PORT),
    "sb": ("/usr/share/ovn/ovn-sb.ovsschema", layout.SB_PORT),
}


def start_ovsdb(space: Space) -> Service:
    """Start the node's database server, and create a database if there is none."""
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    space.sh(
        f"cd /etc/openvswitch; [ -e conf.db ] || ovsdb-tool create conf.db {schema}; "
        "hostname >system-id.conf"
    )
    service = space.spawn(
        "ovsdb-server",
        [
            "ovsdb-server",
            "/etc/openvswitch/conf.db",
            f"--remote=p{DB}",
            REMOTES,
            "--pidfile",
            *CONSOLE,
        ],
    )
    socket = DB.removeprefix("unix:")
    service.wait_ready(lambda: space.result(["test", "-e", socket]).returncode == 0)
    return service


def start_vswitchd(space: Space) -> Service:
    """Start ovs-vswitchd."""
    service = space.spawn("ovs-vswitchd", VSWITCHD)
    service.wait_ready(lambda: space.result(["ovs-appctl", "-T1", "version"]).returncode == 0)
    return service


def reload_vswitchd(space: Space) -> Service:
    """Restart ovs-vswitchd by the packages' own script, which saves and restores its flows."""
    space.run(RELOAD)
    inner = int(space.run(["cat", "/run/openvswitch/ovs-vswitchd.pid"]))
    pid = host_pid(space.pid, inner)
    service = Service("ovs-vswitchd", pid, start_time(pid), space.log("ovs-vswitchd"))
    space.record(service, VSWITCHD, {})
    return service


def start_switch(space: Space, encap_ip: str, datapath: str = "netdev") -> list[Service]:
    """Start both daemons, with the integration bridge and the settings of the chassis."""
    ovsdb = start_ovsdb(space)
    space.run(
        ["ovs-vsctl", "--no-wait", "--", "init", "--", "set", "Open_vSwitch", "."]
        + [f"external-ids:{key}" for key in chassis(space.name, space.role, encap_ip, datapath)]
        + ["--", "--may-exist", "add-br", INTEGRATION]
        + ["--", "set", "bridge", INTEGRATION, f"datapath_type={datapath}", "fail-mode=secure"]
    )
    return [ovsdb, start_vswitchd(space)]


def chassis(name: str, node: str, encap_ip: str, datapath: str = "netdev") -> list[str]:
    """Return the external_ids by which ovn-controller knows its chassis."""
    return [
        f"system-id={name}",
        f"hostname={node}",
        f'ovn-remote="ssl:{layout.CONTROL_IP}:{layout.SB_PORT}"',
        "ovn-encap-type=geneve",
        f"ovn-encap-ip={encap_ip}",
        f"ovn-bridge-datapath-type={datapath}",
    ]


def add_tunnel_bridge(space: Space, link: str, address: str) -> None:
    """Put the tunnel's end on a userspace bridge of its own.

    Checksum offload is off: userspace never fills in checksums that are left to a veth. While
    ovs-vswitchd is away, the kernel must not answer ARP for the tunnel's address on the link: its
    MAC would stay in the other node's cache for 15 minutes (arp_ignore, ip-sysctl.rst).
    """
    bridge = ["add-br", TUNNEL_BRIDGE, "--", "set", "bridge", TUNNEL_BRIDGE, "datapath_type=netdev"]
    space.run(
        ["ovs-vsctl", "--may-exist", *bridge, "--", "--may-exist", "add-port", TUNNEL_BRIDGE, link]
    )
    # After a restart of the node the rows are there, and ovs-vsctl waits for nothing.
    made = ["ip", "link", "show", TUNNEL_BRIDGE]
    wait_for(lambda: space.result(made).returncode == 0, f"the link {TUNNEL_BRIDGE}")
    space.sh(
        f"sysctl -qw net.ipv4.conf.{link}.arp_ignore=8;"
        f"ethtool -K {link} tx off; ethtool -K {TUNNEL_BRIDGE} tx off; ip link set {link} up;"
        f"ip addr replace {address}/24 dev {TUNNEL_BRIDGE}; ip link set {TUNNEL_BRIDGE} up"
    )


def start_central(control: Space, *, reachable: bool) -> list[Service]:
    """Start the northbound and southbound servers and northd.

    With ``reachable`` the servers also listen for other spaces, over TLS with certificates.
    """
    servers, keys = [], pki.flags(control.directory.parent, pki.SERVER)
    for short, (schema, port) in SCHEMAS.items():
        listen = [f"--remote=pssl:{port}:{layout.CONTROL_IP}", *keys] if reachable else []
        db = f"/var/lib/ovn/ovn{short}_db.db"
        control.sh(f"[ -e {db} ] || ovsdb-tool create {db} {schema}")
        run = f"/run/ovn/ovn{short}_db"
        servers += [
            control.spawn(
                f"ovn-{short}",
                [
                    "ovsdb-server",
                    db,
                    f"--remote=punix:{run}.sock",
                    f"--unixctl={run}.ctl",
                    *listen,
                    *CONSOLE,
                ],
            )
        ]
    for server, short in zip(servers, SCHEMAS, strict=True):
        server.wait_ready(control.path(f"/run/ovn/ovn{short}_db.sock").exists)
    northd = control.spawn("ovn-northd", ["ovn-northd", "--pidfile", *CONSOLE])
    return [*servers, northd]


def spawn_controller(space: Space) -> Service:
    """Start ovn-controller."""
    keys = pki.flags(space.directory.parent, space.role)
    return space.spawn("ovn-controller", ["ovn-controller", DB, "--pidfile", *keys, *CONSOLE])


def start_controller(space: Space, control: Space) -> Service:
    """Start ovn-controller; it is ready when the southbound database has the chassis."""
    service = spawn_controller(space)
    asked = [
        "ovn-sbctl",
        "--timeout=1",
        "--bare",
        "--columns=name",
        "find",
        "chassis",
        f"name={space.name}",
    ]
    service.wait_ready(lambda: control.run(asked, check=False).strip())
    return service
