"""The way to a running agent: questions over its unix socket."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from ovnlet.core.errors import NotReady

SOCKET = "/run/ovnlet/cni.sock"
# Lines may be hours apart.
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=3)
_PATIENCE = aiohttp.ClientTimeout(total=130, sock_connect=3)  # a pass may take as long as an ADD


async def ask(
    socket: str,
    path: str,
    *,
    method: str = "GET",
    body: object = None,
    query: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """The status and the JSON of the answer. NotReady where no agent answers."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=socket), timeout=_PATIENCE
            ) as http,
            http.request(method, f"http://agent{path}", json=body, params=query) as answer,
        ):
            empty = answer.status == HTTPStatus.NO_CONTENT or answer.content_length == 0
            told = None if empty else await answer.json(content_type=None)
            return answer.status, told
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReady(
            f"no agent answers on {socket}: {error}; is the DaemonSet's pod running?"
        ) from error


async def lines(socket: str, path: str, query: Mapping[str, str]) -> AsyncIterator[str]:
    """The lines of an answer as they come. NotReady where no agent answers, or it ends in the middle of one."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=socket), timeout=_ENDLESS
            ) as http,
            http.get(f"http://agent{path}", params=query) as answer,
        ):
            async for line in answer.content:
                yield line.decode(errors="replace").rstrip("\n")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReady(f"no agent answers on {socket}: {error}") from error
