"""An edited annotation enters few files on its way from kopf's handler to the kernel."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.cni.agent.node import AgentNode, until

TRACE = "/run/ovnlet-walk.jsonl"
OVN = "ovn.kubernetes.io"
EDITS = {
    "routes": [json.dumps([{"dst": f"192.0.{n}.0/24", "gw": "10.16.0.1"}]) for n in (2, 3, 4)],
    "egress_rate": ["5", "6", "7"],
    "ingress_rate": ["5", "6", "7"],
}
# What sends a step: of routes to the kernel, of rates to ovs-vswitchd, which acts on its rows.
SENDS = {
    "routes": ["StepRunner._send", "Socket.ask"],
    "egress_rate": ["Replica.begin", "JsonRpcPeer.begin"],
    "ingress_rate": ["Replica.begin", "JsonRpcPeer.begin"],
}
# Files that the handler enters, and those with the handler's own and those that are not counted.
MOST, MOST_IN_ALL = 6, 13
# On the walk, but not counted: they carry the edit or decide when it is worked on, and would be the
# same files for any other input or change.
NOT_COUNTED = {
    "kube/kopf_runner.py": "hands each event over from kopf's thread to the agent's",
    "reconcile/state.py": "tells the subscribers of pods that one has changed",
    "reconcile/queue.py": "decides when a key has its pass, and knows nothing of what a key is",
    "drivers/linux/transport.py": "sends netlink messages, whatever is in them",
    "drivers/ovsdb/transaction_batcher.py": "sends transactions, whatever is in them",
    "drivers/ovsdb/replica.py": "sends transactions, whatever is in them",
    "drivers/ovsdb/jsonrpc.py": "sends transactions, whatever is in them",
}
HANDLER = "kube/kopf_handlers.py"
Chain = tuple[tuple[str, str], ...]


def chains(trace: Path) -> Iterator[Chain]:
    """Yield the chain of calls of each function that the agent has called for the edit so far."""
    for line in trace.read_text().splitlines() if trace.exists() else ():
        yield tuple((file, function) for file, function in json.loads(line))


def is_write(chain: Chain, key: str) -> bool:
    """Return whether a step is sent to the kernel, or to ovs-vswitchd, which does it there.

    What is only read for a step, such as the index of a link, is no write.
    """
    functions = [function for _, function in chain]
    return "PortHost.apply" in functions and functions[-2:] == SENDS[key]


def entered(chain: Chain) -> list[str]:
    """Return the files on a chain in their order, each once."""
    return list(dict.fromkeys(file for file, _ in chain))


@pytest.mark.parametrize("key", EDITS)
async def test_an_edit_enters_at_most_six_files_on_its_way_to_the_kernel(
    bare: AgentNode, key: str
) -> None:
    """Count the files that the handler's call chain enters until a step is sent to the kernel.

    The chain is what one file calls, or schedules, to carry the edit on. What a link of the chain
    asks on the way and gets an answer from is not on it: values and their parsing in `core`, what
    is there now, codecs, metrics, logs and Events.

    A transaction that waits for the answer of another one is sent by that answer, which no edit has
    called: then another edit is traced.
    """
    trace = bare.space.path(TRACE)
    bare.start(trace=TRACE)
    sandbox = await bare.sandbox()
    await bare.add(sandbox)

    async def is_written() -> bool:
        return any(is_write(chain, key) for chain in chains(trace))

    for value in EDITS[key]:
        trace.unlink(missing_ok=True)
        bare.annotate(sandbox.pod, {f"{OVN}/{key}": value})
        with suppress(AssertionError):
            await until(is_written, f"the edit of {key} to reach the kernel", within=10)
            break
    assert await is_written(), f"no edit of {key} reached the kernel"
    walks = {tuple(entered(chain)) for chain in chains(trace) if is_write(chain, key)}
    trace.unlink()
    for walk in walks:
        assert HANDLER in walk
        counted = [file for file in walk if file not in NOT_COUNTED and file != HANDLER]
        print(f"{key}: {len(counted)} of {len(walk)} files: {' > '.join(walk)}")
        assert len(counted) <= MOST, counted
        assert len(walk) <= MOST_IN_ALL, walk
