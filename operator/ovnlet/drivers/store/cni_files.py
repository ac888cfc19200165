"""The plugin and the network configuration in the directories of a container runtime.

Ours are the two names, configurations of an earlier release under another number, and a plugin
``loopback`` where the node has none: the same executable. A foreign file is never touched. The
second socket is ours while we listen on it: one that another process answers on is left alone.

Beside Kube-OVN the configuration has one of two names: while kube-ovn-cni answers on that socket,
one that sorts after its file, and from then on one that sorts before.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import ABSENT, CniFile, CniSocket, Network, Resource
from ovnlet_cni import installer
from ovnlet_cni.listener import UnusableSocket
from ovnlet_cni.site import Site

_PLUGIN_MODE, _CONFLIST_MODE = 0o755, 0o600
_BOTH = {installer.CONFLIST, installer.FIRST}


class CniFiles:
    """Keeps the desired content in memory, and compares, writes and removes files by name.

    ``plugin`` is the executable to install, ``socket`` the path that the plugin connects to.
    ``site`` returns the second socket, None where none is asked for. Without ``primary`` another
    plugin's configuration is the node's, and one of ours is removed.
    """

    def __init__(
        self,
        directories: CniDirectories,
        plugin: Path,
        socket: Path,
        site: Callable[[], Site | None] = lambda: None,
        *,
        primary: bool = True,
    ) -> None:
        self._directories, self._plugin, self._socket = directories, plugin, socket
        self._site, self._primary = site, primary
        self._contents: dict[str, bytes] = {}
        self._asked: object = None
        self._composed: Network = ABSENT

    def socket_taken(self) -> bool:
        """Return whether another process answers on the second socket."""
        site = self._site()
        return site is not None and site.is_foreign

    async def ready(self) -> None:
        """Return at once: an observation needs nothing first."""

    async def prepare(self) -> None:
        """Compose the files again if the plugins have changed.

        This starts each plugin to ask for its versions. Raise InstallError where the plugin is not
        ours or has no known version, OSError where it is missing.
        """
        seen = tuple(installer.signature(path) for path in (self._plugin, self._portmap))
        if seen == self._asked:
            return
        wanted = []
        if self._directories.plugins:
            content = await asyncio.to_thread(installer.plugin, self._plugin)
            wanted += [
                self._file(self._directories.plugins, name, content, _PLUGIN_MODE)
                for name in (installer.PLUGIN, installer.LOOPBACK)
            ]
        if self._directories.configurations and self._primary:
            text = await installer.conflist(self._plugin, self._portmap, self._socket)
            where = self._directories.configurations
            wanted.append(self._file(where, installer.CONFLIST, text.encode(), _CONFLIST_MODE))
        self._composed, self._asked = frozenset(wanted), seen

    @property
    def wanted(self) -> Network:
        """Our files as last composed, and the second socket unless it is taken.

        There is no ``loopback`` where the node has one of its own.
        """
        files, where, taken = self._composed, self._directories.plugins, self.socket_taken()
        if where and installer.has_foreign_loopback(Path(where)):
            files = frozenset(each for each in files if each.key[-1] != installer.LOOPBACK)
        site = self._site()
        if not self._directories.socket or taken or (site is not None and site.has_ended):
            return files
        if self._is_first():
            files = frozenset(_first(each) for each in files)
        return files | {CniSocket(self._directories.socket)}

    def overriding(self) -> list[str]:
        """Return the foreign configurations that sort before ours: the runtime uses the first."""
        if not self._directories.configurations or not self._primary:
            return []
        where = Path(self._directories.configurations)
        before = installer.before_ours(where, self._name())
        return [name for name in before if name not in set(installer.ours(where))]

    def superseded(self) -> list[str]:
        """Return kube-ovn-cni's configurations that are there and sort after ours."""
        if self._name() == installer.CONFLIST:
            return []
        return installer.kube_ovns(Path(self._directories.configurations))

    def _name(self) -> str:
        """Return the name that our configuration is to have."""
        wanted = (each.key[-1] for each in self.wanted)
        return installer.FIRST if installer.FIRST in wanted else installer.CONFLIST

    def _is_first(self) -> bool:
        """Return whether ours is to sort before kube-ovn-cni's, which does not answer.

        The name stays once it is there: a runtime could find no file between two names.
        """
        if not self._directories.configurations:
            return False
        where = Path(self._directories.configurations)
        return bool(installer.kube_ovns(where)) or installer.FIRST in installer.ours(where)

    async def observe(self, _: CniDirectories, desired: Network) -> Network:
        """Return our files as they are, content and mode, and the second socket if it is ours."""
        wanted = [each for each in desired if isinstance(each, CniFile)]
        found = await asyncio.to_thread(self._observe, wanted)
        site = self._site()
        if site is None or not site.is_ours:
            return found
        return found | {CniSocket(str(site.path))}

    async def apply(self, _: CniDirectories, plan: Plan) -> None:
        """Replace files by a rename, the plugins before the configuration; then the socket.

        Raise NodeFault, and NotReady for a socket that has just become another process's.
        """
        for step in sorted(plan, key=_when):
            file = step.resource
            if isinstance(file, CniSocket):
                await self._apply_socket(step)
                continue
            assert isinstance(file, CniFile)  # noqa: S101 - the other kind of this scope
            path = Path(file.directory) / file.name
            try:
                if step.verb is Verb.REMOVE:
                    await asyncio.to_thread(path.unlink, missing_ok=True)
                else:
                    await asyncio.to_thread(
                        installer.put, path, self._contents[file.digest], file.mode
                    )
            except OSError as error:
                raise NodeFault(f"{path}: {error.strerror or error}") from error

    async def _apply_socket(self, step: Step) -> None:
        """Listen on the second socket, or close it.

        Raise NotReady where another process has begun to answer on it since it was desired.
        """
        site = self._site()
        assert site is not None  # noqa: S101 - it is desired only where there is one
        if step.verb is Verb.ENSURE and site.is_foreign:
            raise NotReady(f"{site.path}: another process has begun to answer on it")
        try:
            await (site.listen() if step.verb is Verb.ENSURE else site.close())
        except (OSError, UnusableSocket) as error:
            raise NodeFault(f"{site.path}: {error}") from error

    @property
    def _portmap(self) -> Path:
        return Path(self._directories.plugins or "/opt/cni/bin") / "portmap"

    def _file(self, directory: str, name: str, content: bytes, mode: int) -> CniFile:
        digest = sha256(content).hexdigest()
        self._contents[digest] = content
        return CniFile(directory, name, digest, mode)

    def _observe(self, wanted: list[CniFile]) -> Network:
        found = [self._seen(each.directory, each.name) for each in wanted]
        where = self._directories.configurations
        names = {each.name for each in wanted} or (_BOTH if self._primary else set())
        others = set(installer.ours(Path(where))) - names if where else ()
        older = (self._seen(where, name) for name in others)
        return frozenset(each for each in (*found, *older) if each is not None)

    def _seen(self, directory: str, name: str) -> CniFile | None:
        path = Path(directory) / name
        try:
            if path.is_symlink():
                return CniFile(directory, name, f"a symbolic link to {path.readlink()}", 0o777)
            mode, content = path.stat().st_mode & 0o7777, path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return CniFile(directory, name, f"unreadable: {error.strerror}", 0)
        return CniFile(directory, name, sha256(content).hexdigest(), mode)


def _first(resource: Resource) -> Resource:
    """Return our configuration under the name that sorts first; anything else as it is."""
    if isinstance(resource, CniFile) and resource.name == installer.CONFLIST:
        return replace(resource, name=installer.FIRST)
    return resource


def _when(step: Step) -> tuple[bool, bool]:
    """Order steps: plugins before configurations, and a new name before the removal of another."""
    return step.resource.key[-1] in _BOTH, step.verb is Verb.REMOVE
