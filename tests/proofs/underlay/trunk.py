"""The switch outside of the cluster: a router with an address in each VLAN of the uplinks.

It is an Open vSwitch of its own, in userspace, because the machine's kernel has no VLAN links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.service import Service
from testbed.space import Inside, Space

_HOME = "/run/trunk"
_DB = f"unix:{_HOME}/db.sock"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_ENV = {"OVS_RUNDIR": _HOME}


@dataclass(frozen=True, slots=True)
class Trunk:
    """The control space as a router; ``vlans`` are its addresses, with prefix length, by VLAN."""

    space: Space
    vlans: Mapping[int, str]
    outside: str

    def start(self) -> None:
        """Start the switch, with a trunk to the bridge of the uplinks."""
        space = self.space
        space.sh(f"mkdir -p {_HOME}; ovsdb-tool create {_HOME}/conf.db {_SCHEMA}")
        server = ["ovsdb-server", f"{_HOME}/conf.db", f"--remote=p{_DB}"]
        log = ["-vconsole:info", "-vsyslog:off", "-vfile:off"]
        self._spawn("trunk-server", [*server, f"--unixctl={_HOME}/server.ctl", *log])
        self._ready(["test", "-S", f"{_HOME}/db.sock"])
        self._spawn("trunk-switch", ["ovs-vswitchd", _DB, f"--unixctl={_HOME}/switch.ctl", *log])
        space.sh(
            "ip link add sw0 type veth peer name sw1; ip link set sw0 master underlay;"
            "ip link set sw0 up; ip link set sw1 up; ethtool -K sw0 tx off; ethtool -K sw1 tx off"
        )
        trunks = ",".join(map(str, self.vlans))
        words = ["add-br", "trunk", "--", "set", "bridge", "trunk", "datapath_type=netdev"]
        words += ["--", "add-port", "trunk", "sw1", f"trunks={trunks}"]
        for vlan in self.vlans:
            words += ["--", "add-port", "trunk", f"gw{vlan}", f"tag={vlan}"]
            words += ["--", "set", "interface", f"gw{vlan}", "type=internal"]
        space.run(["ovs-vsctl", f"--db={_DB}", "--timeout=20", *words], env=_ENV)
        for vlan, address in self.vlans.items():
            space.sh(
                f"ip address add {address} dev gw{vlan}; ip link set gw{vlan} up;"
                f"ethtool -K gw{vlan} tx off"
            )
        space.sh(f"ip address add {self.outside}/32 dev lo")

    def listening(self, link: str) -> Inside:
        """Begin to show the ICMP frames on a node's end of the uplink, tags included."""
        words = ["tcpdump", "-n", "-e", "-l", "-i", link, "icmp or (vlan and icmp)"]
        return self.space.popen(words)

    def _spawn(self, name: str, words: list[str]) -> Service:
        return self.space.spawn(name, words, env=_ENV)

    def _ready(self, words: list[str]) -> None:
        self.space.sh(
            f"for i in $(seq 100); do {' '.join(words)} && exit 0; sleep 0.1; done; exit 1"
        )
