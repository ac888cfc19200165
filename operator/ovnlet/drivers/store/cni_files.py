"""The plugin and the network configuration in the directories of a container runtime.

Ours are the two names, configurations of an earlier release under another number, and a plugin
``loopback`` where the node has none: the same executable. The second socket is ours while we listen
on it: one that another process answers on is left alone. A foreign file is never touched, but
kube-ovn-cni's where they are to be replaced: while nobody else answers on the second socket they
are set aside, and the same executable has the name of its plugin.
"""

import asyncio
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import ABSENT, CniFile, CniSocket, Network
from ovnlet_cni import installer, kube_ovn_files
from ovnlet_cni.listener import UnusableSocket
from ovnlet_cni.site import Site

_PLUGIN_MODE, _CONFLIST_MODE = 0o755, 0o600


class CniFiles:
    """Keeps the desired content in memory, and compares, writes and removes files by name.

    ``plugin`` is the executable to install, ``socket`` the path that the plugin connects to.
    ``site`` returns the second socket, None where none is asked for.
    """

    def __init__(
        self,
        directories: CniDirectories,
        plugin: Path,
        socket: Path,
        site: Callable[[], Site | None] = lambda: None,
    ) -> None:
        self._directories, self._plugin, self._socket = directories, plugin, socket
        self._site = site
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
            names = [installer.PLUGIN, installer.LOOPBACK]
            names += [kube_ovn_files.PLUGIN] * self._directories.replaces
            where = self._directories.plugins
            wanted += [self._file(where, name, content, _PLUGIN_MODE) for name in names]
        if self._directories.configurations:
            text = await installer.conflist(self._plugin, self._portmap, self._socket)
            where = self._directories.configurations
            wanted.append(self._file(where, installer.CONFLIST, text.encode(), _CONFLIST_MODE))
        self._composed, self._asked = frozenset(wanted), seen

    @property
    def wanted(self) -> Network:
        """Our files as last composed, and the second socket unless it is taken or the server stops.

        There is no ``loopback`` where the node has one of its own, and no ``kube-ovn`` while the
        socket is taken.
        """
        where, site, taken = self._directories.plugins, self._site(), self.socket_taken()
        others = {kube_ovn_files.PLUGIN} if taken else set()
        if where and installer.has_foreign_loopback(Path(where)):
            others.add(installer.LOOPBACK)
        files = frozenset(each for each in self._composed if each.key[-1] not in others)
        if not self._directories.socket or taken or (site is not None and site.has_ended):
            return files
        return files | {CniSocket(self._directories.socket)}

    def overriding(self) -> list[str]:
        """Return the foreign configurations that sort before ours: the runtime uses the first."""
        if not self._directories.configurations:
            return []
        where = Path(self._directories.configurations)
        known = set(self._older(where))
        if self._directories.replaces and not self.socket_taken():
            known |= set(kube_ovn_files.configurations(where))
        return [name for name in installer.before_ours(where) if name not in known]

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

        Raise NodeFault.
        """
        for step in sorted(plan, key=self._rank):
            file = step.resource
            if isinstance(file, CniSocket):
                await self._apply_socket(step)
                continue
            assert isinstance(file, CniFile)  # noqa: S101 - the other kind of this scope
            path = Path(file.directory) / file.name
            try:
                if step.verb is Verb.REMOVE:
                    await asyncio.to_thread(self._remove, path)
                else:
                    await asyncio.to_thread(self._put, path, file)
            except OSError as error:
                raise NodeFault(f"{path}: {error.strerror or error}") from error

    def _rank(self, step: Step) -> int:
        """Return when a step's turn is: a runtime finds a configuration at every moment."""
        directory, name = step.resource.key[-2:]
        if step.verb is Verb.ENSURE:
            return 1 if name == installer.CONFLIST else 0
        return 2 if directory == self._directories.configurations else 0

    def _put(self, path: Path, file: CniFile) -> None:
        if path.name == kube_ovn_files.PLUGIN:
            kube_ovn_files.save(path)
        installer.put(path, self._contents[file.digest], file.mode)

    def _remove(self, path: Path) -> None:
        """Remove a file of ours; of kube-ovn-cni's, put one back that is aside, or set it aside."""
        if path.name.endswith(kube_ovn_files.SAVED):
            kube_ovn_files.put_back(path)
        elif path.name in kube_ovn_files.configurations(path.parent):
            kube_ovn_files.set_aside(path)
        elif path.name == kube_ovn_files.PLUGIN:
            kube_ovn_files.remove(path)
        else:
            path.unlink(missing_ok=True)

    async def _apply_socket(self, step: Step) -> None:
        """Listen on the second socket, or close it."""
        site = self._site()
        assert site is not None  # noqa: S101 - it is desired only where there is one
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
        older = (self._seen(where, name) for name in (self._older(Path(where)) if where else ()))
        theirs = (self._seen(*each) for each in self._misplaced())
        return frozenset(each for each in (*found, *older, *theirs) if each is not None)

    def _misplaced(self) -> Iterator[tuple[str, str]]:
        """Yield directory and name of what is not where it should be of kube-ovn-cni's files.

        While the second socket is taken that is what is set aside, or a plugin of ours with its
        name; else its configurations, once ours is there.
        """
        plugins, configurations = self._directories.plugins, self._directories.configurations
        if not self._directories.replaces:
            return
        if not self.socket_taken():
            if configurations and (Path(configurations) / installer.CONFLIST).exists():
                for name in kube_ovn_files.configurations(Path(configurations)):
                    yield configurations, name
            return
        for where in filter(None, (plugins, configurations)):
            yield from ((where, name) for name in kube_ovn_files.saved(Path(where)))
        if plugins and installer.is_our_plugin(Path(plugins) / kube_ovn_files.PLUGIN):
            yield plugins, kube_ovn_files.PLUGIN

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

    @staticmethod
    def _older(where: Path) -> Iterator[str]:
        """Yield the names of our configurations of an earlier release."""
        return (name for name in installer.ours(where) if name != installer.CONFLIST)
