"""A stand-in for kube-ovn-cni: what it leaves on a node, in its names, labels and order.

It is no kube-ovn-cni: it writes once what the real one writes in its loops. Pods are made by the
CNI plugin and then rewritten while nothing runs.
"""

from __future__ import annotations

import json

from proofs.drift.adoption import disguise
from proofs.drift.observe import Target
from proofs.gateway.cluster import JOIN_IP, Cluster
from proofs.gateway.pods import NUMBERS, Pod
from testbed import layout

RATE = 20  # Mbit/s, both directions of the limited pod
CONFLIST, PLUGIN = "/etc/cni/net.d/01-kube-ovn.conflist", "/opt/cni/bin/kube-ovn"
PLUGIN_TEXT = "the plugin of kube-ovn-cni\n"
SOCKET = "/run/openvswitch/kube-ovn-daemon.sock"
CONFIGURATION = {
    "name": "kube-ovn",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "kube-ovn", "server_socket": SOCKET},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
_JOIN = {4: "100.64.0.0/16", 6: "fd00:100:64::/64"}
_GATEWAY = {4: "100.64.0.1", 6: "fd00:100:64::1"}
_SERVICES = {4: "10.96.0.0/16", 6: "fd00:10:96::/112"}
_NAT = """
-N OVN-MASQUERADE
-N OVN-PREROUTING
-N OVN-POSTROUTING
-I PREROUTING 1 -m comment --comment "kube-ovn prerouting rules" -j OVN-PREROUTING
-I POSTROUTING 1 -m comment --comment "kube-ovn postrouting rules" -j OVN-POSTROUTING
-A OVN-PREROUTING -i ovn0 {of_subnets} {to_services} -j MARK --set-xmark 0x4000/0x4000
-A OVN-POSTROUTING -m mark --mark 0x4000/0x4000 -j OVN-MASQUERADE
-A OVN-POSTROUTING {of_subnets} {to_subnets} -j OVN-MASQUERADE
-A OVN-POSTROUTING -p tcp ! --syn -m conntrack --ctstate NEW -j RETURN
-A OVN-POSTROUTING {of_nat} {elsewhere} -j OVN-MASQUERADE
-A OVN-MASQUERADE -j MARK --set-xmark 0x0/0xffffffff
-A OVN-MASQUERADE -j MASQUERADE --random-fully
"""
_MANGLE = """
-N OVN-POSTROUTING
-I POSTROUTING 1 -m comment --comment "kube-ovn postrouting rules" -j OVN-POSTROUTING
-A OVN-POSTROUTING -p tcp --tcp-flags RST RST {of_subnets} -m conntrack --ctstate INVALID -j DROP
"""
_ACCEPTS = ("{of_subnets}", "{to_subnets}", "{of_services}", "{to_services}")


def target_of(pod: Pod, limited: bool) -> Target:
    """Return what a tool needs to know of a pod."""
    container, rate = pod.container, RATE if limited else 0
    return Target(
        pod.name,
        container,
        f"/run/netns/{pod.netns}",
        pod.port,
        f"{pod.name}.default",
        tuple(pod.ips.values()),
        "",
        ingress=rate,
        egress=rate,
    )


def take_place(cluster: Cluster) -> None:
    """Turn the node of ovnlet into one of kube-ovn-cni. Nothing of ovnlet stays, but the pods."""
    node = cluster.node
    cluster.kill()
    for name, pod in cluster.pods.items():
        for line in disguise(target_of(pod, limited=name == "a")):
            # A pod that was adopted before has another record, and may have no shaper yet.
            (node.result if line[0] in ("rm", "tc") else node.run)(line)
    node.sh(_limits(target_of(cluster.pods["a"], limited=True)))
    node.sh(
        "nft delete table inet ovnlet 2>/dev/null || :; mkdir -p /opt/cni/bin;"
        " rm -rf /run/ovnlet /etc/cni/net.d/*;"
        " for t in iptables ip6tables; do $t -F FORWARD; $t -F INPUT; $t -P FORWARD DROP; done;"
        " ovs-vsctl remove interface ovn0 external_ids ovnlet"
        " -- remove port ovn0 external_ids ovnlet; ip address flush dev ovn0 scope global;"
        " ip route flush dev ovn0; ip -6 route flush dev ovn0 proto 157"
    )
    for family in JOIN_IP:
        node.sh(f"ip -{family} route flush table 1001; ip -{family} rule del pref 3000 || :")
    boot(cluster)


def boot(cluster: Cluster) -> None:
    """Write what kube-ovn-cni writes on a node where its interface has no address."""
    for family, own in JOIN_IP.items():
        prefix = _JOIN[family].partition("/")[2]
        cluster.node.sh(
            f"ip link set ovn0 up;"
            f" ip -{family} address add {own}/{prefix} dev ovn0 {'nodad' * (family == 6)}"
        )
    start(cluster)


def start(cluster: Cluster) -> None:
    """Write what kube-ovn-cni writes when it starts beside what is there."""
    node = cluster.node
    node.run(["mkdir", "-p", "/etc/cni/net.d"])
    # Its init container replaces the plugin, and leaves a configuration that is there.
    node.run(["tee", f"{PLUGIN}.new"], stdin=PLUGIN_TEXT)
    node.run(["mv", f"{PLUGIN}.new", PLUGIN])
    if node.result(["test", "-e", CONFLIST]).returncode:
        node.run(["tee", CONFLIST], stdin=json.dumps(CONFIGURATION))
    for family, source in ((4, layout.node_ip(0)), (6, layout.node_ip6(0))):
        words = f"via {_GATEWAY[family]} dev ovn0 proto static src {source}"
        for prefix in _prefixes(family):
            node.sh(f"ip -{family} route replace {prefix} {words}")
        node.sh("\n".join((*_sets(family), *_chains(family))))


def clean_up(cluster: Cluster) -> None:
    """Remove what translates, as a take-over would that begins with a clean-up."""
    for tool in ("iptables", "ip6tables"):
        cluster.node.sh(f"{tool} -t nat -F; {tool} -t mangle -F")


def make_port_again(cluster: Cluster, name: str) -> None:
    """Remove a pod's port and add it with all its labels, as a take-over of another kind would."""
    port = target_of(cluster.pods[name], limited=False).port
    cluster.node.sh(
        f"ids=$(ovs-vsctl get interface {port} external_ids); ovs-vsctl del-port {port}; sleep 0.2;"
        f' ovs-vsctl add-port br-int {port} -- set interface {port} "external_ids=$ids"'
    )


def _prefixes(family: int) -> list[str]:
    """Return the prefixes of all Subnets."""
    numbers = NUMBERS.values()
    return [f"10.{n}.0.0/16" if family == 4 else f"fd00:10:{n}::/64" for n in numbers]


def _sets(family: int) -> list[str]:
    kind = "inet6" if family == 6 else "inet"
    members = {
        "services": (_SERVICES[family],),
        "subnets": (*_prefixes(family), _JOIN[family]),
        "subnets-nat": _prefixes(family)[:1],
        "subnets-distributed-gw": _prefixes(family)[:1],
    }
    lines = []
    for name, prefixes in members.items():
        lines.append(f"ipset create -exist ovn{family}0{name} hash:net family {kind}")
        lines += [f"ipset add -exist ovn{family}0{name} {each}" for each in prefixes]
    return lines


def _chains(family: int) -> list[str]:
    """Return the rules, each written if it is not there, as kube-ovn-cni does."""
    tool, name = ("iptables", "ip6tables")[family == 6], f"ovn{family}0"
    given = {
        "of_subnets": f"-m set --match-set {name}subnets src",
        "to_subnets": f"-m set --match-set {name}subnets dst",
        "of_services": f"-m set --match-set {name}services src",
        "to_services": f"-m set --match-set {name}services dst",
        "of_nat": f"-m set --match-set {name}subnets-nat src",
        "elsewhere": f"-m set ! --match-set {name}subnets dst",
    }
    lines = []
    for table, text in (("nat", _NAT), ("mangle", _MANGLE)):
        first, *_ = made = [line.format(**given) for line in text.strip().splitlines()]
        lines.append(f"if {tool} -t {table} {first} 2>/dev/null; then")
        lines += [f"{tool} --wait -t {table} {line}" for line in made[1:]]
        lines.append("fi")
    for chain in ("INPUT", "FORWARD"):
        for match in (each.format(**given) for each in _ACCEPTS):
            rule = f"{chain} {match} -j ACCEPT"
            lines.append(f"{tool} -C {rule} 2>/dev/null || {tool} --wait -I {rule}")
    return lines


def _limits(pod: Target) -> str:
    """Return what writes limits as kube-ovn-cni does: rows of its own and policing, see §3.4."""
    kilobits, labels = RATE * 1000, f"iface-id={pod.iface_id} external_ids:pod=default/{pod.pod}"
    return (
        f"for t in qos queue; do for u in $(ovs-vsctl --bare --columns=_uuid find $t"
        f" external_ids:iface-id={pod.iface_id}); do ovs-vsctl clear port {pod.port} qos"
        f" -- --if-exists destroy $t $u; done; done;"
        f" q=$(ovs-vsctl create queue other_config:max-rate={RATE}000000"
        f" other_config:burst={RATE}00000 external_ids:{labels});"
        f" ovs-vsctl set port {pod.port} qos=@q -- --id=@q create qos type=linux-htb queues:0=$q"
        f" external_ids:{labels} -- set interface {pod.port} ingress_policing_rate={kilobits}"
        f" ingress_policing_burst={kilobits * 8 // 10}"
    )
