"""A private switch that is a chassis of OVN, with an ovn-controller and one logical port."""

import subprocess

from integration.node.ovs.vswitch import PrivateSwitch, eventually
from ovnlet.drivers.ovs.forwarding import TABLES


class Chassis:
    """A switch with an ovn-controller and one logical port that it has installed."""

    def __init__(self, switch: PrivateSwitch) -> None:
        self.switch = switch
        self._bridge = f"unix:{switch.directory}/br-int.mgmt"

    def prepare(self) -> None:
        remote = f"unix:{self.switch.socket}"
        keys = {
            "system-id": "c1",
            "ovn-remote": remote,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": "127.0.0.1",
            "ovn-bridge-datapath-type": "netdev",
        }
        self.switch.vsctl("set", "Bridge", "br-int", "datapath_type=netdev", "fail_mode=secure")
        words = (f"external_ids:{key}={value}" for key, value in keys.items())
        self.switch.vsctl("set", "Open_vSwitch", ".", *words)
        self.switch.start_vswitchd()
        sbctl = ["ovn-sbctl", f"--db={remote}", "--no-leader-only"]
        rows = ["--id=@d", "create", "Datapath_Binding", "tunnel_key=1"]
        for number in (1, 2):
            rows += ["--", "create", "Port_Binding", f"logical_port=lp{number}", "datapath=@d"]
            rows += [f"tunnel_key={number}"]
        subprocess.run([*sbctl, "init"], check=True)
        subprocess.run([*sbctl, *rows], check=True, capture_output=True)
        self.add("lp1")
        self.switch.start_controller()
        self.wait_installed("lp1")
        eventually(self.complete)

    def add(self, name: str) -> None:
        """Add the local port of a logical port of the same name."""
        ids = f"external_ids:iface-id={name}"
        self.switch.vsctl("add-port", "br-int", name, "--", "set", "Interface", name, ids)
        self.switch.vsctl("set", "Interface", name, "type=internal")

    def wait_installed(self, name: str) -> None:
        """Wait until OVN reports the port as installed."""
        eventually(lambda: self.switch.ids(name).get("ovn-installed") == "true", within=15)

    def ofctl(self, command: str, bridge: str, *words: str) -> str:
        """Run ovs-ofctl on the bridge, as a foreign client."""
        assert bridge == "br-int"
        call = ["ovs-ofctl", "-O", "OpenFlow15", command, self._bridge, *words]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout

    def complete(self) -> bool:
        """Return whether each of OVN's outer tables has flows, as a foreign client counts them."""
        return all(map(self.count, TABLES))

    def count(self, table: int) -> int:
        """Return how many flows a table has, as a foreign client counts them."""
        text = self.ofctl("dump-aggregate", "br-int", f"table={table}")
        return int(text.rpartition("flow_count=")[2].split()[0])
