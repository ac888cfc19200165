"""Patches of the own Node that are refused: said once, tried again slowly. On a fake clock."""

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ovnlet.kube.chassis_name import ChassisName
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.session import Access, ApiFault

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
NODE = OwnNode("n0", "uid", {}, None)


class Server:
    """Credentials whose every session fails with ``status`` while that is set."""

    server = "https://192.0.2.1"

    def __init__(self, status: int | None) -> None:
        self.tries: list[float] = []
        self.status = status

    def session(self) -> Any:
        """Fail as the API server would."""
        self.tries.append(asyncio.get_running_loop().time())
        raise ApiFault(f"PATCH: {self.status} said the server", self.status or 0)


async def run(server: Server, seconds: float) -> list[str]:
    """Have a chassis name written for that long, and return what was reported as refused."""
    refused: list[str] = []
    name = ChassisName(cast("Access", server), "n0", refused.append)
    name.seen(NODE)
    name.want("chassis-1")
    task = asyncio.create_task(name.run())
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()
    return refused


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_refusal_is_logged_and_reported_once_and_tried_again_slowly(status: int) -> None:
    """L23: time does not heal a missing right; it was repeated every 5 s in silence."""
    server = Server(status)
    with capture_logs() as logs:
        refused = await run(server, 3600)
    assert len(refused) == 1
    assert str(status) in refused[0]
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 1
    gaps = [after - before for before, after in zip(server.tries, server.tries[1:], strict=False)]
    assert min(gaps) >= 60
    assert max(gaps) <= 600


@pytest.mark.parametrize("status", [0, 401, 429, 503])
async def test_what_time_heals_is_tried_again_soon_and_never_reported(status: int) -> None:
    """L23: an API server that is away is not refusing."""
    server = Server(status)
    assert await run(server, 600) == []
    gaps = [after - before for before, after in zip(server.tries, server.tries[1:], strict=False)]
    assert max(gaps) <= 5


async def test_a_new_value_is_written_at_once_though_the_old_one_was_refused() -> None:
    """L23: the slow retry delays nothing that is new."""
    server = Server(403)
    name = ChassisName(cast("Access", server), "n0", lambda _: None)
    name.seen(NODE)
    name.want("chassis-1")
    task = asyncio.create_task(name.run())
    await asyncio.sleep(10)
    tries = len(server.tries)
    name.want("chassis-2")
    await asyncio.sleep(1)
    assert len(server.tries) == tries + 1
    task.cancel()
