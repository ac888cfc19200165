"""Where a container runtime looks for plugins and configurations, and a plugin for an agent."""

from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core.identity import OfNode


@dataclass(frozen=True, slots=True)
class CniDirectories(OfNode):
    """The two directories, and a second socket. Each is empty where nothing is to be kept there.

    ``socket`` is the path at which kube-ovn-cni answers its plugin.
    """

    plugins: str
    configurations: str
    socket: str = ""
    name: ClassVar[str] = "cni"

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that are given, that of the socket among them."""
        parent = self.socket.rpartition("/")[0]
        return tuple(each for each in (self.plugins, self.configurations, parent) if each)
