"""A client of the running agent: HTTP requests over its unix socket."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from ovnlet.core.errors import NotReady

SOCKET = "/run/ovnlet/cni.sock"
# Between two lines of a stream hours may pass.
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3)
# A pass may take as long as an ADD.
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=130, sock_connect=3)


async def ask(
    socket: str,
    path: str,
    *,
    method: str = "GET",
    body: object = None,
    query: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """Send one request and return the answer's status and JSON (None without a body).

    Waits up to 130 s. Raises NotReady if no agent answers.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=socket), timeout=_ANSWER_TIMEOUT
            ) as http,
            http.request(method, f"http://agent{path}", json=body, params=query) as answer,
        ):
            empty = answer.status == HTTPStatus.NO_CONTENT or answer.content_length == 0
            return answer.status, None if empty else await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReady(
            f"no agent answers on {socket}: {error}; is the DaemonSet's pod running?"
        ) from error


async def lines(socket: str, path: str, query: Mapping[str, str]) -> AsyncIterator[str]:
    """Yield the lines of an answer as they arrive.

    Raises NotReady if no agent answers or the connection breaks.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=socket), timeout=_STREAM_TIMEOUT
            ) as http,
            http.get(f"http://agent{path}", params=query) as answer,
        ):
            async for line in answer.content:
                yield line.decode(errors="replace").rstrip("\n")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReady(f"no agent answers on {socket}: {error}") from error


def named(each: Mapping[str, Any]) -> str:
    """Return `NAMESPACE/POD` of an attachment, with a further interface behind another slash."""
    further = each["ifname"] if each["container_id"] and each["ifname"] != "eth0" else ""
    return "/".join(filter(None, (each["namespace"], each["pod"], further)))
