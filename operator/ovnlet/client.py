"""The way to a running agent: questions over its unix socket."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from ovnlet.core.errors import NotReady

SOCKET = "/run/ovnlet/cni.sock"
_PATIENCE = aiohttp.ClientTimeout(total=130, sock_connect=3)  # a pass may take as long as an ADD


async def ask(
    socket: str, path: str, *, method: str = "GET", body: object = None, query: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """The status and the JSON of the answer. NotReady where no agent answers."""
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=socket), timeout=_PATIENCE) as http,
            http.request(method, f"http://agent{path}", json=body, params=query) as answer,
        ):
            empty = answer.status == HTTPStatus.NO_CONTENT or answer.content_length == 0
            told = None if empty else await answer.json(content_type=None)
            return answer.status, told
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReady(f"no agent answers on {socket}: {error}; is the DaemonSet's pod running?") from error
