"""Routes of a lease that moved: dhclient renews it from a dnsmasq that gives another gateway.

Debian's script of dhclient sets no route at a renewal. So the hook here does what that of Red Hat
does: `ip route replace`, after the address, without which the gateway could not be reached.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.spaces import Space
from integration.node.underlay.field import BRIDGE, Agent, Field
from kit import dhcp
from ovnlet.reconcile import leases

LEASED, FIRST, SECOND, STATIC = "192.0.2.60", "192.0.2.1", "192.0.2.3", "192.0.2.2"
_WITHIN = 30 * TIMEOUT_FACTOR
# Seconds until a client renews: option T1 of DHCP.
_RENEWS = 4
_HOOK = """
make_resolv_conf() {
  case "$reason" in RENEW|REBIND) ip route replace default via $new_routers dev $interface;; esac
}
"""


@contextmanager
def running(space: Space, command: list[str], log: Path) -> Iterator[None]:
    """Run a program in a namespace, and kill it at the end."""
    with (
        log.open("ab") as out,
        subprocess.Popen(
            ["ip", "netns", "exec", space.name, *command], stdout=out, stderr=out
        ) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def defaults(field: Field) -> list[tuple[str, str, int]]:
    """Return link, gateway and metric of each default route of IPv4, the one in force first."""
    shown = field.node.json("-4", "route", "show", "default")
    return [(each["dev"], each["gateway"], each.get("metric", 0)) for each in shown]


async def until(field: Field, agent: Agent | None, *wanted: tuple[str, str, int]) -> None:
    """Wait until the node has these default routes, with passes of the agent.

    It has one at each look.
    """
    async with asyncio.timeout(_WITHIN):
        while (found := defaults(field)) != list(wanted):
            if agent is not None:
                assert found, "no default route"
                await agent.run()
            await asyncio.sleep(0.1)


@contextmanager
def serving(field: Field, router: str) -> Iterator[None]:
    """Run a server that gives the one address with this router."""
    words = dhcp.server("up0", f"{LEASED},{LEASED}", router, field.directory)
    words += [f"--dhcp-option=option:T1,{_RENEWS}"]
    with running(field.router, words, field.directory / "dnsmasq.log"):
        yield


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client renew as often as it likes."""
    monkeypatch.setattr(leases, "_OFTEN", 1000)


@asynccontextmanager
async def leased(field: Field, agent: Agent, *routes: str) -> AsyncIterator[None]:
    """Run a client whose lease has moved, with the first router, and with ``routes`` of others."""
    field.node.ip("-4", "address", "flush", "dev", "eth0")
    field.router.ip("address", "add", f"{SECOND}/24", "dev", "up0")
    command = dhcp.client("dhclient", "eth0", field.directory / "dhclient")
    (field.directory / "dhclient" / "hooks" / "routes").write_text(_HOOK)
    with running(field.node, command, field.directory / "dhclient.log"):
        with serving(field, FIRST):
            await until(field, None, ("eth0", FIRST, 0))
            for each in routes:
                field.node.ip(*f"route {each} dev eth0".split())
            agent.put(defaultInterface="eth0")
            await agent.phase("settled")
        yield


async def test_a_renewal_with_another_gateway_replaces_the_old_one(
    field: Field, agent: Agent
) -> None:
    """The route of before stayed on the bridge beside the new one, and in force."""
    async with leased(field, agent):
        with serving(field, SECOND):
            await until(field, agent, (BRIDGE, SECOND, 0))
            assert field.reaches()
    agent.put()
    await agent.phase(None)
    assert defaults(field) == [("eth0", SECOND, 0)]


async def test_a_renewal_leaves_the_routes_of_others(field: Field, agent: Agent) -> None:
    """An administrator has a default route by another metric, through the old gateway too."""
    others = [f"add default via {each} metric {at}" for at, each in ((50, FIRST), (60, STATIC))]
    async with leased(field, agent, *others):
        kept = ((BRIDGE, FIRST, 50), (BRIDGE, STATIC, 60))
        await until(field, agent, (BRIDGE, FIRST, 0), *kept)
        with serving(field, SECOND):
            await until(field, agent, (BRIDGE, SECOND, 0), *kept)
            await agent.run()
            assert set(kept) < set(defaults(field))


async def test_a_gateway_that_a_client_appends_replaces_the_old_one(
    field: Field, agent: Agent
) -> None:
    """systemd-networkd does so, here by hand; what others have on the bridge stays."""
    address, by = ["address", "add", f"{LEASED}/24", "dev", "eth0"], "proto dhcp metric 1024"
    field.router.ip("address", "add", f"{SECOND}/24", "dev", "up0")
    field.node.ip("-4", "address", "flush", "dev", "eth0")
    field.node.ip(*address, "valid_lft", "600", "preferred_lft", "600")
    field.node.ip(*f"route add default via {FIRST} dev eth0 {by}".split())
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    field.node.ip(*f"route append default via {FIRST} dev {BRIDGE} metric 50".split())
    field.node.ip(*address, "valid_lft", "900", "preferred_lft", "900")
    field.node.ip(*f"route append default via {SECOND} dev eth0 {by}".split())
    kept = (BRIDGE, FIRST, 50)
    assert (BRIDGE, FIRST, 1024) in defaults(field)
    await until(field, agent, kept, (BRIDGE, SECOND, 1024))
    assert field.reaches()
    agent.put()
    await agent.phase(None)
    assert ("eth0", SECOND, 1024) in defaults(field)
    assert ("eth0", FIRST, 1024) not in defaults(field)
