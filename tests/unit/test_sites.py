"""The sockets of a server that stops: nobody listens on them again, and their files stay away."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import CniSocket
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet_cni.listener import UnusableSocket
from ovnlet_cni.server import Server
from unit.test_kube_ovn_wire import RecordingAgent


@pytest.fixture
def where() -> Iterator[Path]:
    """Return a directory whose paths are short enough for a socket."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def _server(where: Path) -> Server:
    own = where / "own"
    return Server(RecordingAgent(), own / "cni.sock", kube_ovn_socket=where / "theirs.sock")


def _files(where: Path, directories: CniDirectories, server: Server) -> CniFiles:
    plugin, own = where / "plugin", where / "cni.sock"
    return CniFiles(directories, plugin, own, lambda: server.kube_ovn_site)


@pytest.mark.review2
async def test_a_pass_during_a_stop_does_not_listen_again(where: Path) -> None:
    """A hint of the file that has just gone, or a look that was due, makes such a pass."""
    server = _server(where)
    await server.start()
    directories = CniDirectories("", "", str(where / "theirs.sock"))
    files = _files(where, directories, server)
    assert files.wanted == {CniSocket(directories.socket)}
    (step,) = [Step(Verb.ENSURE, each) for each in files.wanted]
    await files.apply(directories, (step,))
    assert Path(directories.socket).is_socket()
    await server.stop()
    assert files.wanted == frozenset()
    with pytest.raises(NodeFault, match="the server stops"):
        await files.apply(directories, (step,))
    assert not Path(directories.socket).exists()


@pytest.mark.review2
async def test_a_stop_ends_a_listen_that_has_begun(where: Path) -> None:
    server = _server(where)
    await server.start()
    site = server.kube_ovn_site
    assert site is not None
    listening = asyncio.create_task(site.listen())
    await asyncio.sleep(0)
    await server.stop()
    with pytest.raises(UnusableSocket):
        await listening
    assert not site.path.exists()


@pytest.mark.review2
async def test_a_socket_that_another_process_took_meanwhile_stays_its_own(where: Path) -> None:
    """Its creation makes the pass: it may listen between what is desired and the step."""
    server = _server(where)
    await server.start()
    directories = CniDirectories("", "", str(where / "theirs.sock"))
    files = _files(where, directories, server)
    (step,) = [Step(Verb.ENSURE, each) for each in files.wanted]
    theirs = await asyncio.start_unix_server(lambda *_: None, directories.socket)
    with pytest.raises(NotReady, match="another process has begun to answer on it"):
        await files.apply(directories, (step,))
    assert files.socket_taken()
    theirs.close()
    await server.stop()


async def test_a_socket_that_was_given_up_may_be_taken_again(where: Path) -> None:
    server = _server(where)
    await server.start()
    site = server.kube_ovn_site
    assert site is not None
    for _ in range(2):
        await site.listen()
        assert site.is_ours
        await site.close()
        assert not site.path.exists()
    await server.stop()
