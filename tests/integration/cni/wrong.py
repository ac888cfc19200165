"""Invalid environments, namespaces and configurations, and the error code of each."""

from integration.cni.runtime import Json
from ovnlet_cni.errors import Code

ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"
OTHER_NAMES = [".", "..", "e/0", "e:0", "e 0", "e\t0", "a\u2003b", "0123456789abcdef", "ü" * 8, ""]
OTHER_IDS = [
    "-a",
    ".a",
    "a/b",
    "a b",
    "ä",
    "a\nb",
    "a\x01",
    "a" * 201,
    "../../etc/passwd",
    "\udc80",
    "",
]
OTHER_ARGS = [None, "", "K8S_POD_NAME=a", "K8S_POD_NAMESPACE=a", "x", "=y"]
OTHER_ENDS = [";z", "_", "/..", ";K8S_POD_UID=a/b", ";K8S_POD_NAMESPACE=A.b", "é"]
ENVIRONMENTS: list[tuple[str, str, str | None]] = [
    *[("ADD", "CNI_COMMAND", value) for value in ("add", "ADD ", "UPDATE\udcff\n")],
    *[(verb, "CNI_PATH", None) for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS")],
    *[(verb, "CNI_CONTAINERID", None) for verb in ("ADD", "DEL", "CHECK")],
    *[(verb, "CNI_IFNAME", None) for verb in ("ADD", "DEL", "CHECK")],
    *[(verb, "CNI_NETNS", value) for verb in ("ADD", "CHECK") for value in (None, "")],
    *[(verb, "CNI_CONTAINERID", value) for verb in ("ADD", "DEL") for value in OTHER_IDS],
    *[(verb, "CNI_IFNAME", value) for verb in ("ADD", "DEL") for value in OTHER_NAMES],
    *[("ADD", "CNI_ARGS", value) for value in OTHER_ARGS],
    *[("ADD", "CNI_ARGS", ARGS + end) for end in OTHER_ENDS],
    ("CHECK", "CNI_ARGS", None),
    ("ADD", "CNI_ANYTHING", "\udcff\udcfe"),
]
NAMESPACES = [
    "/nonexistent",
    "relative",
    "/etc/hostname",
    "/",
    "/dev/null",
    "/proc/self/ns/pid",
    "/proc/self/ns/net",
    "a" * 5000,
]
Case = tuple[str, Json | bytes, Code]


def _values(verb: str, code: Code, key: str, *values: object) -> list[Case]:
    """Return cases of a valid configuration with one invalid key."""
    return [(verb, {key: value}, code) for value in values]


NOT_JSON: list[bytes] = [
    *(
        b"",
        b"   ",
        b"null",
        b"3",
        b'"text"',
        b"[]",
        b"{",
        b"{}x",
        b"{,}",
        b"{a:1}",
        b"\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 200000,
    ),
    *(
        b'{"a":}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":1e}',
        b'{"a":-}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":tru}',
    ),
    *(
        b'{"a":1,}',
        b'{"a":1}\x00',
        b'{"a":"\x01"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":"\\',
        b'{"a":' * 200,
    ),
    *(
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        b'{"a":"\xe2\x82',
    ),
    b'{"a":"' + b"x" * (1 << 20) + b'"}',
]
BAD_ROUTES: list[object] = [
    *(1, {}, {"dst": "x"}, [1], [{}], [{"gw": 1}], [{"gw": "x"}], [{"gw": "10.0.0.1", "dst": []}]),
    *([{"gw": "10.0.0.1", "dst": "fd00::/8"}], [{"gw": "10.0.0.1", "dst": "10.0.0.1/8"}]),
]
BAD_RESULTS: list[object] = [
    *(
        1,
        [],
        {"ips": 1},
        {"ips": {}},
        {"ips": [1]},
        {"ips": [{}]},
        {"ips": [{"address": "10.0.0.1/33"}]},
        {"dns": []},
    ),
    *(
        {"interfaces": [{"name": 1}]},
        {"routes": [{"dst": "x"}]},
        {"routes": [{"dst": "10.0.0.0/8", "gw": 5}]},
    ),
    *({"ips": [{"address": "10.0.0.1/8", "interface": index}]} for index in (0, -1, True, "0")),
]
BAD_LISTS: list[object] = [
    None,
    {},
    "a",
    [1],
    [{}],
    [{"containerID": "a"}],
    [{"containerID": 1, "ifname": "eth0"}],
]
CONFIGS: list[Case] = [
    *[("ADD", text, Code.DECODE) for text in NOT_JSON],
    *_values("ADD", Code.INVALID_CONFIG, "name", None, "", "-x", "a/b"),
    *_values("ADD", Code.DECODE, "name", 7),
    *_values("ADD", Code.DECODE, "cniVersion", 1),
    *_values(
        "ADD",
        Code.INCOMPATIBLE_VERSION,
        "cniVersion",
        None,
        "",
        "0.1.0",
        "0.2.0",
        "0.3.0",
        "1.2.0",
        "1.1.0 ",
        'a"b',
    ),
    *_values("DEL", Code.INCOMPATIBLE_VERSION, "cniVersion", "0.2.0"),
    *_values("CHECK", Code.INCOMPATIBLE_VERSION, "cniVersion", "0.3.1"),
    *_values("GC", Code.INCOMPATIBLE_VERSION, "cniVersion", "0.3.1", "0.4.0", "1.0.0"),
    *_values("STATUS", Code.INCOMPATIBLE_VERSION, "cniVersion", "0.3.1", "0.4.0", "1.0.0"),
    *_values("ADD", Code.INVALID_CONFIG, "provider", 1, "A", "a/b", []),
    *_values("ADD", Code.INVALID_CONFIG, "routes", *BAD_ROUTES),
    *_values("ADD", Code.INVALID_CONFIG, "prevResult", *BAD_RESULTS),
    *_values("CHECK", Code.INVALID_CONFIG, "prevResult", None),
    *_values("GC", Code.INVALID_CONFIG, "cni.dev/valid-attachments", *BAD_LISTS),
    *_values(
        "ADD",
        Code.INVALID_CONFIG,
        "server_socket",
        1,
        "",
        "relative",
        "/" + "a" * 107,
        "/a\\b",
        ["/run/x"],
        {"a": 1},
    ),
]
