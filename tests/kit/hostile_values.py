"""Keys and values of annotations that an attacker may write: paths, escapes, huge numbers."""

import json
from collections.abc import Iterator

from kit.pods import key

NAMES = (
    *("ip_address", "cidr", "mac_address", "logical_switch", "default_route", "gateway", "routes"),
    *(
        "ingress_rate",
        "ingress_burst",
        "egress_rate",
        "egress_burst",
        "latency",
        "jitter",
        "limit",
        "loss",
    ),
)
# Keys that the agent does not read, though they look as if it did.
FOREIGN_KEYS = (
    *(
        key(name)
        for name in ("port_name", "ip_pool", "netns", "ifname", "mtu", "IP_ADDRESS", "bridge")
    ),
    *(
        "kubernetes.io/config.mirror",
        "kubernetes.io/netns",
        "ovnlet.io/socket",
        "ovnlet.io/run-dir",
        "ovnlet",
    ),
    *(
        "net1.default.ovn.kubernetes.io/ip_address",
        "other.kubernetes.io/routes",
        "ip_address",
        "routes",
    ),
)
KEYS = (
    *(key(name) for name in (*NAMES, "allocated", "routed")),
    *("kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth", "ovnlet.io/repair"),
    *FOREIGN_KEYS,
)
PATHS = (
    *(
        "/",
        "..",
        "../../../etc/passwd",
        "/proc/sys/net/ipv4/ip_forward",
        "/run/ovnlet/sandboxes/a.json",
    ),
    *(
        "/etc/cni/net.d/01-ovnlet.conflist",
        "/run/openvswitch/db.sock",
        "10.16.0.5/../../ipv4/ip_forward",
        "~root/x",
    ),
)
LINKS = (
    "lo",
    "br-int",
    "ovn0",
    "eth0",
    "eth1",
    "all",
    "default",
    "0123456789abcdef",
    "e/0",
    "eth0@if2",
    "%s",
    "*",
    "",
)
CONTROL = (
    "\x00",
    "\x1b[2J\x1b[H",
    "\r\n",
    "\t",
    "\x7f",
    "\x9b",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\u0661",
    "\x1c",
    "\x85",
)
WORDS = (
    "$(reboot)",
    "`reboot`",
    "; ip link del ovn0",
    "' or 1=1 --",
    '"}]',
    "${jndi:ldap://a}",
    "<script>",
    "\\",
)
NUMBERS = (
    *(
        "0",
        "-1",
        "+1",
        "1e3",
        "1e999999",
        "1e-999999",
        "9e99999999999999999999",
        "0x10",
        "١٢",
        "NaN",
        "sNaN",
        "Infinity",
    ),
    *(
        "1_000",
        "1.5",
        ".",
        "1Gi",
        "1000E",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "9" * 5000,
    ),
)
ADDRESSES = (
    *(
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "10.16.0.1",
        "10.16.0.6",
        "172.30.0.10",
        "10.16.255.255",
    ),
    *(
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "fd00::5",
        "fd00::1",
        "fd00::6",
        "1::1::1",
    ),
    *(
        "10.16.5",
        "010.016.0.5",
        "0x0a100005",
        "168820741",
        "10.16.0.5/\x1b[2J",
        "10.16.0.5/99",
        "10.16.0.5\x1c",
    ),
)
PREFIXES = (
    *(
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "8000::/1",
        "10.16.0.0/33",
        "fd00::/129",
        "10.0.0.0/255.0.0.0",
    ),
    *(
        "10.16.0.0/0.0.255.255",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "ff00::/8",
        "fe80::/64",
        "169.254.169.254/32",
        "::1/128",
    ),
)
MACS = (
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "00:00:00:00:00:00",
    "00-00-00-53-00-01",
    "\u212aa:00:00:53:00:01",
)


def _lists() -> Iterator[str]:
    """Yield JSON that breaks careless readers, and thousands of routes."""
    yield from (
        "null",
        "{}",
        "[[]]",
        "[null]",
        "[1]",
        '[""]',
        '[{"gw":null}]',
        "[" * 100_000,
        '{"a":' * 40_000,
        "[1,2",
    )
    yield json.dumps(
        [{"dst": "192.0.2.0/24", "gw": "10.16.0.1", "dev": "br-int", "table": 254, "via": "lo"}]
    )
    yield json.dumps(
        [{"dst": {"a": 1}, "gw": ["10.16.0.1"]}, {"dst": ["x"], "gw": 168820737}, {"gw": True}]
    )
    yield json.dumps([{"dst": "10.16.0.0/16", "gw": "10.16.0.1"}] * 2)
    yield "[" + "9" * 5000 + "]"
    yield "[" + "{}," * (80 << 10)
    for many in (256, 257, 4000):
        yield json.dumps(
            [
                {
                    "dst": f"198.{18 + n // 250 // 250}.{n // 250 % 250}.{n % 250}/32",
                    "gw": "10.16.0.1",
                }
                for n in range(many)
            ]
        )
    yield json.dumps([{"dst": prefix, "gw": "10.16.0.1"} for prefix in PREFIXES[:4]])


LISTS = tuple(_lists())
