"""The directories in which a container runtime looks for plugins and for network configurations."""

from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core.identity import OfNode


@dataclass(frozen=True, slots=True)
class CniDirectories(OfNode):
    """The two directories. One is empty where nothing is to be written there."""

    plugins: str
    configurations: str
    name: ClassVar[str] = "cni"

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that are given."""
        return tuple(each for each in (self.plugins, self.configurations) if each)
