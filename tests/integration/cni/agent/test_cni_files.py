"""The CNI files on a running node: kept, reported, and never written too early (F8)."""

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest

from integration.cni.agent.cli import BIN, CONF, ovnlet
from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.test_metrics import scrape

pytestmark = pytest.mark.review2

CONFLIST, PLUGIN = f"{CONF}/01-ovnlet.conflist", f"{BIN}/ovnlet"
LOOPBACK = f"{BIN}/loopback"
OURS = {"ovnlet", "loopback", "01-ovnlet.conflist"}
LEFT = 'ovnlet_drift_left_total{kind="CniFile"}'
WITHIN = 1.0  # seconds
DIRECTORIES = (f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}")
BROKEN = {
    "the conflist is removed": f"rm {CONFLIST}",
    "the conflist is torn": f"truncate -s 40 {CONFLIST}",
    "the conflist is overwritten": f"echo '{{}}' >{CONFLIST}",
    "the conflist is readable by all": f"chmod 644 {CONFLIST}",
    "a directory has the conflist's content": f"cp {CONFLIST} {CONF}/kept; ln -sf kept {CONFLIST}",
    "an older release's conflist is beside it": f"cp {CONFLIST} {CONF}/10-ovnlet.conflist",
    "an older release's conflist is before it": f"cp {CONFLIST} {CONF}/00-ovnlet.conflist",
    "the plugin is removed": f"rm {PLUGIN}",
    "the plugin is overwritten": f"echo broken >{PLUGIN}",
    "the plugin is not executable": f"chmod 644 {PLUGIN}",
    "our loopback is removed": f"rm {LOOPBACK}",
}


@pytest.fixture
def named(bare: AgentNode) -> Iterator[AgentNode]:
    """Yield a node with a Node object, and with empty CNI directories."""
    bed, name = bare.bed, bare.space.role
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
    bare.space.sh(f"rm -rf {CONF} {PLUGIN} {LOOPBACK}; mkdir -p {CONF} {BIN}")
    yield bare
    bare.kill()
    bed.kubectl("delete", "node", name)
    bed.kubectl("delete", "events", "--field-selector=involvedObject.kind=Node", "--wait=false")
    bare.space.sh(f"rm -rf {CONF} {PLUGIN} {LOOPBACK} /run/ovnlet")


def start(node: AgentNode, *flags: str, ready: bool = True) -> None:
    node.start(*DIRECTORIES, f"--plugin={node.plugin}", *flags, ready=ready)


async def known(node: AgentNode) -> None:
    """Wait until the agent knows its Node: it annotates it with the name of the chassis."""

    async def is_annotated() -> bool:
        shown = await asyncio.to_thread(
            node.bed.kubectl, "get", "node", node.space.role, "-o", "json"
        )
        return "ovn.kubernetes.io/chassis" in json.loads(shown)["metadata"].get("annotations", {})

    await until(is_annotated, "the chassis' name on the Node")


def contents(node: AgentNode) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of the plugin and of all configurations; a link has none."""
    configurations = node.space.path(CONF)
    paths = list(configurations.glob("[!.]*.conflist")) if configurations.is_dir() else []
    found = {}
    for path in (*paths, node.space.path(PLUGIN), node.space.path(LOOPBACK)):
        with contextlib.suppress(FileNotFoundError):  # the agent may replace it meanwhile
            is_link = path.is_symlink()
            found[path.name] = (0, b"") if is_link else (path.stat().st_mode, path.read_bytes())
    return found


def stamps(node: AgentNode) -> dict[str, tuple[int, ...]]:
    """Return inode, size and times of both directories and of all that is in them."""
    found: dict[str, tuple[int, ...]] = {}
    for directory in (node.space.path(CONF), node.space.path(BIN)):
        for path in (directory, *directory.iterdir()):
            seen = path.lstat()
            found[path.name] = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return found


async def reported(node: AgentNode, reason: str, *words: str) -> None:
    """Wait for an Event on the Node that has all these words."""

    async def has_event() -> bool:
        fields = f"--field-selector=involvedObject.kind=Node,reason={reason}"
        listed = await asyncio.to_thread(node.bed.kubectl, "get", "events", fields, "-o", "json")
        messages = [each["message"] for each in json.loads(listed)["items"]]
        return any(all(word in message for word in words) for message in messages)

    await until(has_event, f"an Event {reason} with {words}")


async def back(node: AgentNode, right: dict[str, tuple[int, bytes]], what: str) -> None:
    async def is_right() -> bool:
        return contents(node) == right

    try:
        seconds = await until(is_right, what, WITHIN)
    except AssertionError:
        print(contents(node).keys(), node.logged()[-3000:])
        raise
    print(f"{what}: right after {seconds * 1000:.0f} ms")


async def test_what_breaks_is_right_again_within_a_second(named: AgentNode) -> None:
    """L19: a conflist that was removed stayed away, and the node NotReady, until a restart."""
    start(named)
    await known(named)
    right = contents(named)
    assert set(right) == OURS
    for what, script in BROKEN.items():
        await named.sh(script)
        await back(named, right, what)
    await reported(named, "NetworkRepaired", "01-ovnlet.conflist")


async def test_with_repair_report_an_event_and_a_metric_and_no_write(named: AgentNode) -> None:
    start(named, "--repair=report")
    await known(named)
    assert set(contents(named)) == OURS, "start-up installs them"
    await named.sh(f"rm {CONFLIST}; echo broken >{PLUGIN}")
    broken = stamps(named)

    async def counted() -> bool:
        lines = (await scrape(named)).splitlines()
        counts = [line.rpartition(" ")[2] for line in lines if line.startswith(LEFT)]
        return sum(map(float, counts)) >= 2

    await until(counted, "the metric of what is left")
    await reported(named, "NetworkDrifted", "01-ovnlet.conflist", "as set")
    await reported(named, "NetworkDrifted", f"{BIN} ovnlet", "as set")
    await asyncio.sleep(WITHIN)
    assert stamps(named) == broken


async def test_nothing_is_written_before_startup_is_over(named: AgentNode) -> None:
    """Until then the node must not be Ready, so a conflist that is gone or torn stays so."""
    await named.sh(f"echo torn >{CONFLIST}")
    before = stamps(named)
    assert named.bed.control is not None
    with named.stopped("kube-apiserver", named.bed.control):
        start(named, ready=False)

        async def waits() -> bool:
            return b"waits for the API server's list" in (await named.status()).stdout

        await until(waits, "STATUS that names the list of pods")
        assert stamps(named) == before
        # A change is no reason either.
        await named.sh(f"rm {CONFLIST}")
        gone = stamps(named)
        await asyncio.sleep(2 * WITHIN)
        assert stamps(named) == gone
    named.wait_ready()
    assert set(contents(named)) == OURS


@pytest.mark.parametrize(
    "replaced",
    [
        f"rm -rf {CONF}; mkdir -p {CONF}",
        f"rm -rf {CONF}",
        f"mv {CONF} {CONF}.old; mkdir -p {CONF}; rm -r {CONF}.old",
    ],
    ids=["deleted and made again", "deleted", "moved away and made again"],
)
async def test_a_directory_that_is_replaced_is_kept_too(named: AgentNode, replaced: str) -> None:
    start(named)
    right = contents(named)
    for _ in range(2):
        # The agent may write while rm is at work.
        await named.sh(f"{replaced} || :")
        await back(named, right, "the directory is replaced")
        await named.sh(f"rm {CONFLIST}")
        await back(named, right, "the conflist in the new directory is removed")


async def test_a_foreign_configuration_before_ours_is_reported_and_stays(named: AgentNode) -> None:
    """It is there at the agent's start, and comes again under a running agent."""
    foreign = f"{CONF}/00-other.conf"
    for when in ("before the start", "later"):
        await named.sh(f'echo \'{{"name": "other", "type": "bridge"}}\' >{foreign}')
        if when == "before the start":
            start(named)
            await known(named)
        placed = stamps(named)
        await reported(named, "CniConfigOverridden", "00-other.conf")
        await asyncio.sleep(WITHIN)
        assert stamps(named) == placed, when
        await named.sh(f"rm {foreign}")
        named.bed.kubectl("delete", "events", "--field-selector=involvedObject.kind=Node")
        await asyncio.sleep(WITHIN)


async def test_uninstall_is_refused_while_an_agent_answers(named: AgentNode) -> None:
    start(named)
    before = stamps(named)
    for flags in ((), ("--cut-off",)):
        refused = await ovnlet(named, "uninstall", *flags)
        assert (refused.exit_code, b"an agent answers" in refused.stderr) == (1, True), refused
    assert stamps(named) == before
