"""The API server is down, failing or replaced by another server.

The agent waits, keeps what it knows, and recovers within a few seconds.
"""

import asyncio
import os
import subprocess
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from integration.apiserver.agent import IN_FORCE, AgentUnderTest, Weight, running, until
from integration.apiserver.conftest import USER, Api, Audit, grant, token
from integration.apiserver.proxy import ApiProxy, fails_watches, unavailable
from testbed.bed import Bed


def watched(proxy: ApiProxy) -> bool:
    return any("watch=true" in line for line in proxy.requests)


def _has_note(agent: AgentUnderTest, name: str, text: str) -> bool:
    return agent.note(name) == text


@pytest.mark.parametrize(
    ("refused", "broken"),
    [pytest.param(20, 4, id="short"), pytest.param(720, 180, id="issue", marks=pytest.mark.long)],
)
async def test_an_api_server_that_comes_late_and_then_answers_503(
    refused: float, broken: float, account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("early")
    await proxy.close()
    process, began = os.getpid(), monotonic()
    async with running(account, proxy.url) as agent:
        await asyncio.sleep(refused)
        assert not agent.state.complete
        weight = Weight.now()
        await proxy.open()
        first = await until(lambda: agent.pod("early"), IN_FORCE, "the pod")
        await proxy.open(unavailable)
        await api.note("early", "edited during the outage")
        await asyncio.sleep(broken)
        assert agent.pod("early")
        assert agent.note("early") is None
        asked = len(proxy.requests)
        await proxy.open()
        second = await until(
            lambda: agent.note("early") == "edited during the outage", IN_FORCE, "the edit"
        )
        after = Weight.now()
    print(
        f"refused {refused:g} s: pod known {first:.1f} s after;"
        f" 503 for {broken:g} s ({asked} requests): edit in force {second:.1f} s after;"
        f" one process {process} for {monotonic() - began:.0f} s; {weight} {after}"
    )
    assert os.getpid() == process
    assert after.threads <= weight.threads + 1


async def test_connections_cut_again_and_again(account: Path, proxy: ApiProxy, api: Api) -> None:
    await api.create("cut")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("cut"), 15, "the pod")
        for number in range(5):
            await proxy.close()
            await api.note("cut", str(number))
            await proxy.open()
            await until(partial(_has_note, agent, "cut", str(number)), IN_FORCE, "the edit")


@pytest.fixture
def foreign(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate for the same address that the cluster does not trust, and its key."""
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=x"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    files = (tmp_path / "x.crt", tmp_path / "x.key")
    subprocess.run(
        ["openssl", *words.split(), "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )
    return files


async def test_a_server_with_an_untrusted_certificate_gets_no_request(
    account: Path, proxy: ApiProxy, api: Api, foreign: tuple[Path, Path]
) -> None:
    await api.create("trusted")
    await proxy.open(certificate=foreign)
    async with running(account, proxy.url) as agent:
        await asyncio.sleep(1.5)
        assert proxy.requests == []
        await proxy.open()
        await until(lambda: agent.pod("trusted"), IN_FORCE, "the pod")


async def test_a_new_ca_is_learned_while_kopf_runs(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api, foreign: tuple[Path, Path]
) -> None:
    await api.create("rotated")
    async with running(account, proxy.url) as agent:
        await until(lambda: watched(proxy), 15, "the watch")
        (account / "ca.crt").write_text((account / "ca.crt").read_text() + foreign[0].read_text())
        (account / "token").write_text(token(bed))
        proxy.requests.clear()
        await proxy.open(certificate=foreign)
        await until(lambda: watched(proxy), IN_FORCE, "the watch again")
        await api.note("rotated", "after the change")
        await until(lambda: agent.note("rotated") == "after the change", 10, "the edit")


async def test_the_role_bound_only_after_the_agents_start(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("granted")
    bed.kubectl("delete", "clusterrolebinding", "ovnlet")
    try:
        async with running(account, proxy.url) as agent:
            await asyncio.sleep(1.5)
            assert not agent.state.complete
            grant(bed)
            await until(lambda: agent.pod("granted"), IN_FORCE, "the pod")
    finally:
        grant(bed)


async def test_a_token_that_is_refused_and_renewed(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("renewed")
    (account / "token").write_text("expired")
    async with running(account, proxy.url) as agent:
        await asyncio.sleep(1.5)
        assert not agent.state.complete
        (account / "token").write_text(token(bed))
        await until(lambda: agent.pod("renewed"), IN_FORCE, "the pod")


async def test_a_token_that_is_renewed_in_time_is_never_refused(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api, audit: Audit
) -> None:
    await api.create("renewed")
    async with running(account, proxy.url) as agent:
        await until(lambda: watched(proxy), 15, "the watch")
        fresh = token(bed)
        used: list[str] = []

        async def note(request: object) -> None:
            used.append(request.headers["Authorization"])  # type: ignore[attr-defined]

        (account / "token").write_text(fresh)
        await proxy.open(note)
        await until(lambda: used, IN_FORCE, "the watch again")
        await agent.listing.refresh()
    assert set(used) == {f"Bearer {fresh}"}
    assert not [entry for entry in audit.asked() if entry["responseStatus"]["code"] == 401]
    assert all(entry["user"]["username"] == USER for entry in audit.asked())


async def test_an_error_in_the_watch_ends_kopf_and_nothing_else(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("survivor")
    await proxy.open(fails_watches)
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("survivor"), 15, "the pod")
        await asyncio.sleep(1)
        await api.note("survivor", "by our own list")
        await until(
            lambda: agent.note("survivor") == "by our own list",
            IN_FORCE,
            "the edit, without any watch",
        )
        await proxy.open()
        await until(
            lambda: any("watch=true" in line for line in proxy.requests[-3:]), IN_FORCE, "a watch"
        )
