"""A container runtime for tests: it runs the built plugin and reads its output."""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of the plugin ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def body(self) -> Json:
        """The one JSON object on stdout. Fails on anything else."""
        body = json.loads(self.stdout)
        assert isinstance(body, dict)
        return body

    @property
    def error(self) -> Json:
        """The error object of the CNI specification, the only output of a failure."""
        assert self.exit_code == 1, self
        assert self.stderr == b""
        body = self.body
        assert set(body) == {"cniVersion", "code", "msg", "details"}, body
        assert isinstance(body["code"], int)
        assert body["msg"]
        return body

    @property
    def code(self) -> int:
        """0 for success, else the code of the error object."""
        if self.exit_code == 0:
            return 0
        return int(str(self.error["code"]))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime whose network is the given plugin at the given socket."""

    plugin: Path
    socket: Path
    netns: str

    def env(self, verb: str = "ADD", **changes: str | None) -> dict[str, str]:
        """Return a valid environment, with variables changed or, for None, left out."""
        env: dict[str, str | None] = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c0ffee",
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": (
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=7f9c-11"
            ),
        }
        return {key: value for key, value in (env | changes).items() if value is not None}

    def config(self, **changes: object) -> Json:
        """Return a valid network configuration, with keys changed or, for None, left out."""
        config: Json = {
            "cniVersion": "1.1.0",
            "name": "ovnlet",
            "type": "ovnlet",
            "server_socket": str(self.socket),
            "cni.dev/valid-attachments": [],
        }
        return {key: value for key, value in (config | changes).items() if value is not None}

    def good(self, verb: str, **changes: object) -> Json:
        """Return a configuration that is valid for this verb, with ``changes`` applied."""
        return self.config(**{"prevResult": {} if verb == "CHECK" else None, **changes})

    async def call(
        self,
        verb: str = "ADD",
        config: Json | bytes | None = None,
        env: dict[str, str] | None = None,
        user: int | None = None,
    ) -> Outcome:
        """Run the plugin to its end, and return the outcome."""
        process = await self.start(verb, env, user)
        stdin = (
            config if isinstance(config, bytes) else json.dumps(config or self.config()).encode()
        )
        begun = time.monotonic()
        stdout, stderr = await process.communicate(stdin)
        assert process.returncode is not None
        return Outcome(process.returncode, stdout, stderr, time.monotonic() - begun)

    async def start(
        self, verb: str = "ADD", env: dict[str, str] | None = None, user: int | None = None
    ) -> asyncio.subprocess.Process:
        """Start the plugin; its stdin is still open."""
        pipe = asyncio.subprocess.PIPE
        plain = {
            os.fsencode(key): os.fsencode(value) for key, value in (env or self.env(verb)).items()
        }
        return await asyncio.create_subprocess_exec(
            self.plugin, stdin=pipe, stdout=pipe, stderr=pipe, env=plain, user=user, group=user
        )

    async def hang(self, verb: str = "ADD") -> asyncio.subprocess.Process:
        """Start the plugin and give it its stdin, without waiting for its end."""
        process = await self.start(verb)
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.config()).encode())
        process.stdin.close()
        return process


async def ended(process: asyncio.subprocess.Process) -> Outcome:
    """Wait for a plugin that was started with `hang`, and return the outcome."""
    assert process.stdout is not None
    assert process.stderr is not None
    begun = time.monotonic()
    stdout, stderr = await asyncio.gather(process.stdout.read(), process.stderr.read())
    return Outcome(await process.wait(), stdout, stderr, time.monotonic() - begun)
