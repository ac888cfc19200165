"""The way through OVN's logical network, by `ovn-trace` beside OVN's databases."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ovnlet.cluster.stages import Stage

if TYPE_CHECKING:
    from ovnlet.cluster.endpoints import Target

_WHERE = "logical network"
_TIMEOUT = 60.0
# Of a connection's first packet, at each of the conntrack zones that it passes.
_CONNTRACK = ("--ct=new", "--ct=new", "--ct=new", "--ct=new")
_OUTPUT = re.compile(r'output to "([^"]+)"')
# A line of the detailed trace: table, stage, what matched, priority.
_TABLE = re.compile(r"^\s*\d+\. (\w+)(?: \([^)]*\))?: (.*?)(?:, priority|$)")


@dataclass(frozen=True, slots=True)
class Logical:
    """A packet as the logical network sees it; ``hop`` is what the sender's node says."""

    sender: "Target"
    receiver: "Target"
    protocol: str
    hop: dict[str, Any]

    def microflow(self) -> str:
        """Return the packet in the language of `ovn-trace`."""
        ip = "ip4" if ip_address(self.receiver.address).version == 4 else "ip6"
        first = self.hop["hop"]
        parts = [
            f'inport == "{self.hop["port"]["iface_id"]}"',
            f"eth.src == {self.hop['port']['mac']}",
            f"eth.dst == {first['mac']}",
            f"{ip}.src == {first['source']}",
            f"{ip}.dst == {self.receiver.address}",
            "ip.ttl == 64",
        ]
        if self.protocol == "icmp":
            parts.append("icmp4.type == 8" if ip == "ip4" else "icmp6.type == 128")
        else:
            parts.append(f"{self.protocol}.dst == {self.receiver.port}")
        return " && ".join(parts)


def traced(command: str | None, packet: Logical) -> Iterator[Stage]:
    """Yield the stage of the logical network; it is left out where it cannot be traced."""
    if not command:
        yield Stage(_WHERE, "left out", "give --ovn-trace to have it traced by OVN")
    elif not packet.hop["hop"].get("mac") or not packet.hop["port"].get("iface_id"):
        yield Stage(_WHERE, "left out", "the packet does not reach it")
    else:
        words = [*shlex.split(command), "--no-leader-only", *_CONNTRACK, packet.microflow()]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            yield Stage(_WHERE, "left out", f"{shlex.split(command)[0]}: {error}")
            return
        if done.returncode:
            yield Stage(_WHERE, "left out", f"ovn-trace: {done.stderr.strip()}")
        else:
            yield said(done.stdout, packet)


def said(text: str, packet: Logical) -> Stage:
    """Return what a detailed trace says: where the packet leaves, or which stage drops it."""
    ports = _OUTPUT.findall(text)
    if ports and (not packet.receiver.pod or _is_of(ports[-1], packet.receiver.name)):
        return Stage.ok(_WHERE, f"leaves by port {ports[-1]}")
    if ports:
        what = f"leaves by port {ports[-1]}, which is not the receiver's"
        return Stage.fault(_WHERE, what, "do two ports have one address? ovn-nbctl show")
    stages = [found for line in text.splitlines() if (found := _TABLE.match(line))]
    last = stages[-1] if stages else None
    if last and "acl" in last[1]:
        rules = [found[2] for found in stages if "acl_eval" in found[1]]
        what = f"an ACL drops it, in {last[1]}: {rules[-1] if rules else last[2]}"
        return Stage.fault(_WHERE, what, "a NetworkPolicy or a security group; ovn-nbctl acl-list")
    place = f"in {last[1]}, on {last[2]}" if last else "in no table"
    fix = "is the receiver's logical port there, enabled and up? ovn-nbctl show, lsp-get-enabled"
    return Stage.fault(_WHERE, f"is dropped {place}", fix)


def _is_of(port: str, name: str) -> bool:
    """Return whether a logical port is a pod's: `pod.namespace`, with a provider or without."""
    namespace, _, pod = name.partition("/")
    own = f"{pod}.{namespace}"
    return port == own or port.startswith(f"{own}.")
