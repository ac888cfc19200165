"""Beside a kube-ovn-cni that answers ours gives way; once it is silent, ours is the first by name.

What answers is a stand-in: a process that listens on kube-ovn-cni's socket.
"""

import json
from collections.abc import Iterator

import pytest

from integration.cni.agent.cli import BIN, CONF
from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.test_cni_files import known, named, reported, start
from integration.cni.agent.test_kube_ovn_socket import SECOND

__all__ = ["named"]
pytestmark = pytest.mark.review2
THEIRS, GIVES_WAY, FIRST = "01-kube-ovn.conflist", "01-ovnlet.conflist", "00-ovnlet.conflist"
CONTENT = json.dumps({"cniVersion": "0.3.1", "name": "kube-ovn", "plugins": [{"type": "kube-ovn"}]})
FLAG = f"--kube-ovn-socket={SECOND}"
# Renamed into place: between a removal and a bind our agent would listen there again.
LISTENER = (
    "import os, socket, time\n"
    "s = socket.socket(socket.AF_UNIX)\n"
    f"s.bind('{SECOND}.new')\n"
    "s.listen()\n"
    f"os.rename('{SECOND}.new', '{SECOND}')\n"
    "time.sleep(600)\n"
)
ENDS = "[ ! -e /run/theirs ] || kill -9 $(cat /run/theirs); rm -f /run/theirs"


@pytest.fixture
def beside(named: AgentNode) -> Iterator[AgentNode]:
    """Yield a node with kube-ovn-cni's configuration."""
    named.space.path(f"{CONF}/{THEIRS}").write_text(CONTENT)
    yield named
    named.kill()
    named.space.sh(f"{ENDS}; rm -f {SECOND}")


async def answers(node: AgentNode) -> None:
    """Start a process that answers on kube-ovn-cni's socket, whoever did before."""
    socket = node.space.path(SECOND)
    before = socket.stat().st_ino if socket.exists() else 0
    await node.sh(f'python3 -c "{LISTENER}" >/dev/null 2>&1 & echo $! >/run/theirs')

    async def listens() -> bool:
        return socket.exists() and socket.stat().st_ino != before

    await until(listens, "the socket of kube-ovn-cni")


async def ordered(node: AgentNode, *names: str) -> None:
    """Wait until these are the configurations, in the order in which a runtime sorts them."""
    where = node.space.path(CONF)

    async def is_so() -> bool:
        return sorted(each.name for each in where.glob("*.conflist")) == list(names)

    try:
        seconds = await until(is_so, f"the configurations {names}")
    except AssertionError:
        print(sorted(where.iterdir()), node.logged()[-3000:])
        raise
    print(f"{names}: after {seconds:.1f} s")


async def test_ours_gives_way_and_takes_over_by_the_order_of_files(beside: AgentNode) -> None:
    await answers(beside)
    start(beside, FLAG)
    await known(beside)
    await ordered(beside, THEIRS, GIVES_WAY)
    await reported(beside, "CniConfigOverridden", THEIRS)
    await beside.sh(ENDS)
    await ordered(beside, FIRST, THEIRS)
    await reported(beside, "CniConfigTakenOver", THEIRS)
    await _first_attaches(beside)
    await answers(beside)
    await ordered(beside, THEIRS, GIVES_WAY)
    assert beside.space.path(f"{CONF}/{THEIRS}").read_text() == CONTENT


async def _first_attaches(node: AgentNode) -> None:
    """Attach a pod as a runtime does: by the first configuration and the plugin that it names."""
    first = min(node.space.path(CONF).glob("*.conflist"))
    whole = json.loads(first.read_text())
    plugin = whole["plugins"][0]
    assert node.space.path(f"{BIN}/{plugin['type']}").read_bytes() == node.plugin.read_bytes()
    sandbox = await node.sandbox()
    common = {"cniVersion": whole["cniVersion"], "name": whole["name"]}
    outcome = await node.call("ADD", sandbox, {**plugin, **common})
    assert outcome.exit_code == 0, outcome
    assert await node.addresses(sandbox) == {sandbox.pod.v4, sandbox.pod.v6}
    assert (await node.call("DEL", sandbox, {**plugin, **common})).exit_code == 0
