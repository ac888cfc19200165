"""kopf in the agent's process: it may end often, installs no signal handler, and leaks nothing."""

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from integration.apiserver.agent import Weight, build_agent, running, until
from integration.apiserver.conftest import Api
from integration.apiserver.proxy import ApiProxy, fails_watches
from ovnlet.kube import kopf_runner

RESTARTS = 50


async def test_restarts_leave_nothing_behind(
    account: Path, proxy: ApiProxy, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run ends by an error that kopf treats as fatal."""
    # pytest keeps every log record, and its traceback keeps a whole kopf alive.
    monkeypatch.setattr(logging.getLogger("kopf"), "handlers", [logging.NullHandler()])
    monkeypatch.setattr(kopf_runner, "SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(kopf_runner, "LONGEST_PAUSE", 0.0)
    for number in range(5):
        await api.create(f"pod{number}")
    agent = build_agent(account, proxy.url)
    requests = 0

    def count_request() -> None:
        nonlocal requests
        requests += 1  # one at kopf's list, one at its end

    monkeypatch.setattr(agent.listing, "request", count_request)

    async def restart(times: int) -> Weight:
        target = requests + 2 * times
        await proxy.open(fails_watches)
        task = asyncio.create_task(agent.runner.run())
        await until(lambda: requests >= target, 60, f"{times} runs")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await proxy.close()
        await asyncio.sleep(0.1)
        gc.collect()
        return Weight.now()

    before, began = await restart(20), monotonic()
    after = await restart(RESTARTS)
    print(f"{RESTARTS} restarts in {monotonic() - began:.1f} s: {before} then {after}")
    assert (after.tasks, after.threads) == (before.tasks, before.threads)
    assert after.descriptors <= before.descriptors
    assert after.resident <= before.resident + 6


async def test_our_signal_handlers_and_tasks_survive(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("watched")
    loop, caught = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, caught.set)
    try:
        async with running(account, proxy.url) as agent:
            await until(
                lambda: any("watch=true" in line for line in proxy.requests), 5, "the watch"
            )
            ours = asyncio.create_task(asyncio.sleep(60))
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(caught.wait(), 10)
            await asyncio.sleep(0.2)
            await api.note("watched", "still watched")
            await until(lambda: agent.note("watched") == "still watched", 10, "the edit")
        assert not ours.done()
        ours.cancel()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_stopping_takes_no_time(account: Path, proxy: ApiProxy, api: Api) -> None:
    agent = build_agent(account, proxy.url)
    for wait in (0.0, 0.02, 0.2, 1.0):
        task = asyncio.create_task(agent.runner.run())
        await asyncio.sleep(wait)
        began = monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        print(f"stopped {wait:g} s after its start: {(monotonic() - began) * 1000:.0f} ms")
        assert monotonic() - began < 2


async def test_kopf_itself_lists_nothing(account: Path, proxy: ApiProxy, api: Api) -> None:
    """Its tasks and queues for 600 listed pods were 10 MiB, which the process kept."""
    await api.create("listed")
    agent = build_agent(account, proxy.url)
    task = asyncio.create_task(agent.runner.run())
    await until(lambda: any("watch=true" in line for line in proxy.requests), 15, "the watch")
    await api.create("watched")
    await until(lambda: agent.pod("watched"), 15, "the pod that came later")
    assert agent.pod("listed") is None, "only our own list has it, and that does not run here"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_our_loop_is_not_held_up(account: Path, proxy: ApiProxy, api: Api) -> None:
    """Measure the agent's loop during kopf's start and the first list of 100 pods."""
    for number in range(100):
        await api.create(f"pod{number}", annotations={"example.com/ballast": "x" * 4096})
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, monotonic() - began - 0.001)

    agent = build_agent(account, proxy.url)
    ticking = asyncio.create_task(tick())
    tasks = [ticking, *map(asyncio.create_task, (agent.runner.run(), agent.listing.run()))]
    await until(lambda: any("watch=true" in line for line in proxy.requests), 15, "kopf's watch")
    await until(lambda: len(list(agent.state)) == 100, 10, "the pods")
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(
        f"longest hold-up of our loop: {longest * 1000:.1f} ms"
        " (the proxy's work for 100 pods included)"
    )
    assert longest < 0.2
