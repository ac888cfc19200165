"""The directories in which a container runtime looks for plugins and for network configurations."""

from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core.identity import AttachmentKey


@dataclass(frozen=True, slots=True)
class CniDirectories:
    """The two directories. One is empty where nothing is to be written there."""

    plugins: str
    configurations: str
    name: ClassVar[str] = "cni"

    @property
    def key(self) -> AttachmentKey:
        """No container has an empty ID."""
        return ("", self.name)

    @property
    def called(self) -> tuple[str, str]:
        """The name for display."""
        return ("node", self.name)

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that are given."""
        return tuple(each for each in (self.plugins, self.configurations) if each)
