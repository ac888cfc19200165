"""The scope of the plugin and the network configuration, by which a container runtime calls us.

The configuration makes the node Ready, so nothing is written before start-up is over.
"""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Target
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Host
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status

# Seconds between two looks at a socket that another process answers on.
_AGAIN = 1.0


class FilesHost(Host, Protocol):
    """The runtime's directories. ``drivers.store.cni_files`` implements it."""

    @property
    def wanted(self) -> Network:
        """Our files, as last composed."""
        ...

    def overriding(self) -> list[str]:
        """Return the foreign configurations that the runtime uses instead of ours."""
        ...

    def superseded(self) -> list[str]:
        """Return kube-ovn-cni's configurations that the runtime does not use any longer."""
        ...

    def socket_taken(self) -> bool:
        """Return whether another process answers on the second socket."""
        ...


class CniFilesScope(NodeWideScope[CniDirectories]):
    """One key. There is none before ``open``, or where no directory is given."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: FilesHost,
        identity: CniDirectories,
        passes: Passes,
        status: Status,
        *,
        owners: OwnerIndex,
        repair: Repair = "fix",
    ) -> None:
        super().__init__(identity, status)
        self.host = host
        self._repair, self._passes, self._opened = repair, passes, False
        self._again: asyncio.TimerHandle | None = None
        names = [("file", directory) for directory in identity.directories]
        owners.register(passes.key(self.only), names)

    def open(self) -> None:
        """Keep the files from now on. The first pass writes them whatever ``repair`` says."""
        self._opened = True
        self._passes.force(self.only)

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        if self._opened and self.identity.directories:
            yield self.only

    def missing_inputs(self, _: str, /) -> str | None:
        """Return that start-up is not over; None once it is."""
        return None if self._opened else "start-up is not over: existing pods come first"

    def target(self, _: str, /) -> Target | None:
        """Return our files, and a notice for each foreign configuration before or after them."""
        if not self._opened:
            return None
        text = (
            "sorts before ours, so the runtime uses it: new pods get its network; "
            "rename or remove it"
        )
        foreign = [
            Notice("CniConfigOverridden", f"{name} {text}") for name in self.host.overriding()
        ]
        text = (
            "is kube-ovn-cni's, which does not answer: ours sorts before it, so new pods get our "
            "network; it may be removed"
        )
        foreign += [
            Notice("CniConfigTakenOver", f"{name} {text}") for name in self.host.superseded()
        ]
        foreign += self._taken()
        return Target(self.identity, self.host.wanted, self._repair, notices=tuple(foreign))

    def _taken(self) -> list[Notice]:
        """Return a notice if the second socket is taken.

        Look again in a second: no notification says that a process has stopped answering.
        """
        if not self.host.socket_taken():
            return []
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(_AGAIN, self._look_again)
        text = f"{self.identity.socket} is another process's, which answers on it, so it keeps it"
        return [Notice("CniSocketTaken", text)]

    def _look_again(self) -> None:
        self._again = None
        self._passes.add(self.only)

    def wanted(self, _: str, /) -> Network:
        """Return our files."""
        return self.host.wanted
