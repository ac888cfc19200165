"""Invalid calls: one JSON error with the right code, no call of the agent, never a crash."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Json, Runtime
from integration.cni.wrong import CONFIGS, ENVIRONMENTS, NAMESPACES
from ovnlet_cni.errors import Code
from ovnlet_cni.server import Server

pytestmark = pytest.mark.usefixtures("server")


@pytest.mark.parametrize(("verb", "name", "value"), ENVIRONMENTS, ids=ascii)
async def test_a_wrong_environment_is_code_4(
    runtime: Runtime, agent: ScriptedAgent, verb: str, name: str, value: str | None
) -> None:
    outcome = await runtime.call(verb, runtime.good(verb), runtime.env(verb, **{name: value}))
    assert outcome.code == Code.INVALID_ENVIRONMENT, outcome
    assert any(word in str(outcome.error["msg"]) for word in (name, "K8S_POD")), outcome
    assert agent.calls == []


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
@pytest.mark.parametrize("path", NAMESPACES, ids=lambda path: path[:20])
async def test_a_wrong_namespace_is_code_8(
    runtime: Runtime, agent: ScriptedAgent, verb: str, path: str
) -> None:
    outcome = await runtime.call(verb, runtime.good(verb), runtime.env(verb, CNI_NETNS=path))
    assert outcome.code == Code.INVALID_NETNS, outcome
    assert agent.calls == []


@pytest.mark.parametrize(("verb", "change", "code"), CONFIGS, ids=lambda value: repr(value)[:90])
async def test_a_wrong_configuration(
    runtime: Runtime, agent: ScriptedAgent, verb: str, change: Json | bytes, code: Code
) -> None:
    config = change if isinstance(change, bytes) else runtime.good(verb, **change)
    outcome = await runtime.call(verb, config)
    assert outcome.code == code, outcome
    assert agent.calls == []


async def test_an_error_has_the_requested_version(runtime: Runtime) -> None:
    for version, shown in (("0.3.1", "0.3.1"), ("0.4.0", "0.4.0"), ("9.9.9", "1.1.0")):
        outcome = await runtime.call(
            "ADD",
            runtime.config(cniVersion=version),
            runtime.env(CNI_IFNAME="a/b" if version != "9.9.9" else "eth0"),
        )
        assert outcome.error["cniVersion"] == shown


async def test_the_own_namespace_is_taken_where_the_runtime_insists(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    env = runtime.env(CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE="true")
    assert (await runtime.call(env=env)).code == 0
    assert len(agent.calls) == 1


async def test_the_largest_configuration_that_is_allowed_arrives(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
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
            # After the socket's name, which directs the request to this server.
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
            b"POST /cni HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400"), head
        assert json.loads(answer)["code"] == Code.DECODE
        writer.close()
