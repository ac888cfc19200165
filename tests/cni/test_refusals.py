"""Whatever a runtime gets wrong: one JSON error, the right code, the agent undisturbed, never a crash."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from cni.agents import StagedAgent
from cni.runtime import Json, Runtime
from ovnlet_cni.errors import Code
from ovnlet_cni.server import Server

pytestmark = pytest.mark.usefixtures("server")

ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"
OTHER_NAMES = [".", "..", "e/0", "e:0", "e 0", "e\t0", "a\u2003b", "0123456789abcdef", "ü" * 8, ""]
OTHER_IDS = ["-a", ".a", "a/b", "a b", "ä", "a\nb", "a\x01", "a" * 201, "../../etc/passwd", "\udc80", ""]
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
    """Cases of a configuration that is good but for one key."""
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
    *(b'{"a":1,}', b'{"a":1}\x00', b'{"a":"\x01"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\', b'{"a":' * 200),
    *(b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x82'),
    b'{"a":"' + b"x" * (1 << 20) + b'"}',
]
BAD_ROUTES: list[object] = [
    *(1, {}, {"dst": "x"}, [1], [{}], [{"gw": 1}], [{"gw": "x"}], [{"gw": "10.0.0.1", "dst": []}]),
    *([{"gw": "10.0.0.1", "dst": "fd00::/8"}], [{"gw": "10.0.0.1", "dst": "10.0.0.1/8"}]),
]
BAD_RESULTS: list[object] = [
    *(1, [], {"ips": 1}, {"ips": {}}, {"ips": [1]}, {"ips": [{}]}, {"ips": [{"address": "10.0.0.1/33"}]}, {"dns": []}),
    *({"interfaces": [{"name": 1}]}, {"routes": [{"dst": "x"}]}, {"routes": [{"dst": "10.0.0.0/8", "gw": 5}]}),
    *({"ips": [{"address": "10.0.0.1/8", "interface": index}]} for index in (0, -1, True, "0")),
]
BAD_LISTS: list[object] = [None, {}, "a", [1], [{}], [{"containerID": "a"}], [{"containerID": 1, "ifname": "eth0"}]]
CONFIGS: list[Case] = [
    *[("ADD", text, Code.DECODE) for text in NOT_JSON],
    *_values("ADD", Code.INVALID_CONFIG, "name", None, "", "-x", "a/b"),
    *_values("ADD", Code.DECODE, "name", 7),
    *_values("ADD", Code.DECODE, "cniVersion", 1),
    *_values(
        "ADD", Code.INCOMPATIBLE_VERSION, "cniVersion", None, "", "0.1.0", "0.2.0", "0.3.0", "1.2.0", "1.1.0 ", 'a"b'
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
        "ADD", Code.INVALID_CONFIG, "server_socket", 1, "", "relative", "/" + "a" * 107, "/a\\b", ["/run/x"], {"a": 1}
    ),
]


def _config(runtime: Runtime, verb: str, **changes: object) -> Json:
    return runtime.config(**{"prevResult": {} if verb == "CHECK" else None, **changes})


@pytest.mark.parametrize(("verb", "name", "value"), ENVIRONMENTS, ids=ascii)
async def test_a_wrong_environment_is_code_4(
    runtime: Runtime, agent: StagedAgent, verb: str, name: str, value: str | None
) -> None:
    outcome = await runtime.call(verb, _config(runtime, verb), runtime.env(verb, **{name: value}))
    assert outcome.code == Code.INVALID_ENVIRONMENT, outcome
    assert any(word in str(outcome.error["msg"]) for word in (name, "K8S_POD")), outcome
    assert agent.calls == []


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
@pytest.mark.parametrize("path", NAMESPACES, ids=lambda path: path[:20])
async def test_a_wrong_namespace_is_code_8(runtime: Runtime, agent: StagedAgent, verb: str, path: str) -> None:
    outcome = await runtime.call(verb, _config(runtime, verb), runtime.env(verb, CNI_NETNS=path))
    assert outcome.code == Code.INVALID_NETNS, outcome
    assert agent.calls == []


@pytest.mark.parametrize(("verb", "change", "code"), CONFIGS, ids=lambda value: repr(value)[:90])
async def test_a_wrong_configuration(
    runtime: Runtime, agent: StagedAgent, verb: str, change: Json | bytes, code: Code
) -> None:
    config = change if isinstance(change, bytes) else _config(runtime, verb, **change)
    outcome = await runtime.call(verb, config)
    assert outcome.code == code, outcome
    assert agent.calls == []


async def test_an_error_speaks_the_version_that_was_asked_for(runtime: Runtime) -> None:
    for version, shown in (("0.3.1", "0.3.1"), ("0.4.0", "0.4.0"), ("9.9.9", "1.1.0")):
        outcome = await runtime.call(
            "ADD", runtime.config(cniVersion=version), runtime.env(CNI_IFNAME="a/b" if version != "9.9.9" else "eth0")
        )
        assert outcome.error["cniVersion"] == shown


async def test_the_own_namespace_is_taken_where_the_runtime_insists(runtime: Runtime, agent: StagedAgent) -> None:
    env = runtime.env(CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE="true")
    assert (await runtime.call(env=env)).code == 0
    assert len(agent.calls) == 1


async def test_the_largest_configuration_that_is_allowed_arrives(runtime: Runtime, agent: StagedAgent) -> None:
    config = json.dumps(runtime.config(padding="")).encode()
    filler = b'"' + b'\\"' * ((1 << 19) - len(config)) + b'"'
    assert (await runtime.call(config=config.replace(b'""', filler))).code == 0
    assert len(agent.calls) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_random_bytes_end_in_one_error_or_a_result(runtime: Runtime, seed: int) -> None:
    dice = random.Random(seed)
    good = json.dumps(
        runtime.config(prevResult={"ips": [{"address": "10.0.0.1/8"}]}, routes=[{"gw": "10.0.0.1"}])
    ).encode()
    known = {0, 1, 4, 6, 7, 8}

    async def one() -> None:
        verb = dice.choice(["ADD", "DEL", "CHECK", "GC", "STATUS"])
        env, config = runtime.env(verb), bytearray(good)
        if dice.random() < 0.5:
            name = dice.choice([key for key in env if key != "CNI_COMMAND"])
            env[name] = bytes(dice.randrange(1, 256) for _ in range(dice.randrange(40))).decode(
                "utf-8", "surrogateescape"
            )
        for _ in range(dice.randrange(1, 4)):
            # Past the socket's name, which is what brings the request to this server.
            at = dice.randrange(good.index(b"valid-"), len(config))
            config[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
        outcome = await runtime.call(verb, bytes(config), env)
        assert outcome.code in known, (env, bytes(config), outcome)

    for _ in range(12):
        await asyncio.gather(*(one() for _ in range(4)))


async def test_a_number_without_end(runtime: Runtime) -> None:
    config = json.dumps(runtime.config(number="")).encode().replace(b'""', b"9" * 5000)
    assert (await runtime.call(config=config)).code == Code.DECODE


async def test_noise_instead_of_a_configuration(runtime: Runtime) -> None:
    dice = random.Random(0)
    for size in (1, 2, 10, 1000, 100000):
        assert (await runtime.call(config=dice.randbytes(size))).code == Code.DECODE


async def test_a_closed_stdin_is_an_io_failure(runtime: Runtime, plugin: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'exec "$0" <&-', plugin, env=runtime.env(), stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    assert process.returncode == 1
    assert json.loads(stdout)["code"] == Code.IO_FAILURE


async def test_a_body_that_is_no_request(server: Server, runtime: Runtime) -> None:
    for body in (
        b"",
        b"[]",
        b'{"env":{}}',
        b'{"env":{"a":1},"config":""}',
        b"[" * 100000,
        b'{"a":"' + b"x" * (4 << 20) + b'"}',
    ):
        reader, writer = await asyncio.open_unix_connection(runtime.socket)
        writer.write(
            b"POST /cni HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400"), head
        assert json.loads(answer)["code"] == Code.DECODE
        writer.close()
