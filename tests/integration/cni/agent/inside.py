"""Programs, and the plugin among them, in the namespaces of a bed's node."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from integration.cni.runtime import Json, Outcome, Runtime
from testbed import exec_agent


@dataclass(frozen=True, slots=True)
class InsideRuntime(Runtime):
    """A runtime that runs the plugin in a space."""

    space: Path = Path("/")

    async def call(
        self,
        verb: str = "ADD",
        config: Json | bytes | None = None,
        env: dict[str, str] | None = None,
        user: int | None = None,
    ) -> Outcome:
        assert user is None, "the exec agent runs programs as root only"
        stdin = (
            config if isinstance(config, bytes) else json.dumps(config or self.config()).encode()
        )
        return await run(self.space, [str(self.plugin)], env or self.env(verb), stdin)


async def run(space: Path, argv: list[str], env: Mapping[str, str], stdin: bytes = b"") -> Outcome:
    request = {"argv": argv, "env": dict(env), "stdin": base64.b64encode(stdin).decode()}
    answer = await exec_agent.ask(space, request)
    stdout, stderr = (base64.b64decode(answer[stream]) for stream in ("stdout", "stderr"))
    return Outcome(answer["exit_code"], stdout, stderr, answer["seconds"])
