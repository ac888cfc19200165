"""Annotations as somebody writes them who means ill, as far as an API server takes them; and what is a pod's own.

An API server refuses more than 256 KiB of annotations on an object, and text that is not UTF-8; nothing else.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_address, ip_interface

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kit import pods
from kit.pods import Text, key
from ovnlet.core.identity import Node
from ovnlet.core.resources import Port, Resource, Veth

MOST = 256 << 10
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
# Such as the agent does not read of a pod, though they look as if.
STRANGERS = (
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
    *STRANGERS,
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
    """What a JSON reader may choke on, and routes by the thousand."""
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
_PIECES = st.one_of(
    *(
        st.sampled_from(pool)
        for pool in (PATHS, LINKS, CONTROL, WORDS, NUMBERS, ADDRESSES, PREFIXES, MACS)
    )
)
_TOGETHER = st.builds(
    str.join,
    st.sampled_from(("", ",", " ", "/", "\n", ", \x1c")),
    st.lists(_PIECES, min_size=2, max_size=5),
)
_ROUTES = st.lists(
    st.fixed_dictionaries(
        {"gw": st.one_of(st.sampled_from(ADDRESSES), _PIECES)},
        optional={"dst": st.one_of(st.sampled_from(PREFIXES), _PIECES)},
    ),
    max_size=4,
).map(json.dumps)
_HUGE = st.builds(
    lambda text, many: (text * many)[:MOST],
    _PIECES.filter(len),
    st.sampled_from((1000, 70_000, MOST)),
)
TEXTS = st.one_of(
    _PIECES,
    _TOGETHER,
    _ROUTES,
    st.sampled_from(LISTS),
    _HUGE,
    st.text(st.characters(codec="utf-8"), max_size=40),
)


@st.composite
def annotated(draw: st.DrawFn) -> Text:
    """A pod that is well but for a few of its values, as many bytes as an API server takes."""
    good = draw(pods.fixed())
    bad = draw(st.dictionaries(st.sampled_from(KEYS), TEXTS, min_size=1, max_size=4))
    return _taken(good | draw(pods.live(good)) | bad)


def _taken(text: Text) -> Text:
    left, taken = MOST, {}
    for name, value in text.items():
        left -= len(name)
        taken[name] = value.encode()[: max(left, 0)].decode(errors="ignore")
        left -= len(taken[name].encode())
    return taken


def drawn(many: int) -> list[Text]:
    """The same ones each time: for programs that are slower than a property."""
    found: list[Text] = []

    @settings(
        max_examples=many, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
    )
    @given(annotated())
    def draw(text: Text) -> None:
        found.append(text)

    draw()
    return found


NODE = Node("br-int", 1400, userspace=True)
LIMITED = {"ingress_rate": "20", "egress_rate": "20", "latency": "10", "loss": "0.5"}
WELL = {
    "ip_address": "10.16.0.5,fd00::5",
    "cidr": "10.16.0.0/16,fd00::/64",
    "gateway": "10.16.0.1,fd00::1",
    "mac_address": "00:00:00:53:00:01",
    "logical_switch": "blue",
    "allocated": "true",
    "routed": "true",
}
GOOD = {key(name): value for name, value in (WELL | LIMITED).items()}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def _texts(value: object) -> Iterator[str]:
    """Every text anywhere in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | frozenset):
        for part in value:
            yield from _texts(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))


_PLAIN = pods.network(GOOD, NODE)
_KNOWN = frozenset(
    _texts((*_PLAIN, *pods.network(GOOD, replace(NODE, lacks=frozenset({"netem"})))))
)
_WHOLE = frozenset(thing.key for thing in _PLAIN if isinstance(thing, Veth | Port))


def strange(thing: Resource) -> list[str]:
    """What in this thing is not the attachment's own: a place, a name, or any text that is no value in one spelling."""
    found = [text for text in _texts(thing) if text not in _KNOWN and not _is_value(text)]
    if (thing.key if thing.within is None else thing.within) not in _WHOLE:
        found.append(f"{thing.key} within {thing.within}")
    return found


def _is_value(text: str) -> bool:
    return bool(_MAC.fullmatch(text) or _NUMBER.fullmatch(text) or _is_fixed(text)) or all(
        map(_is_address, text.split(","))
    )


def _is_fixed(text: str) -> bool:
    """The label with what an ADD fixed: JSON of values in one spelling, and the name of a Subnet."""
    try:
        values = json.loads(text)
        addresses, mac, switch = values.pop("ip"), values.pop("mac"), values.pop("switch")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    default = values.pop("default", None)
    return (
        values == {"routes": [], "seq": 1}
        and isinstance(default, bool)
        and all(str(ip_interface(each)) == each for each in addresses)
        and bool(_MAC.fullmatch(mac))
        and bool(re.fullmatch(r"|[a-z0-9]([-a-z0-9.]*[a-z0-9])?", switch))
    )


def _is_address(text: str) -> bool:
    try:
        return str(ip_address(text)) == text
    except ValueError:
        return False
