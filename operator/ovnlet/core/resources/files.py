"""Files on the node that a container runtime reads, and a socket that a plugin connects to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CniFile:
    """The plugin or the network configuration: a file with this content (SHA-256, hex) and mode."""

    directory: str
    name: str
    digest: str
    mode: int

    @property
    def key(self) -> tuple[object, ...]:
        """Directory and name; content and mode are replaced in place."""
        return ("file", self.directory, self.name)

    @property
    def within(self) -> None:
        """Nothing: the directories are the runtime's."""
        return None


@dataclass(frozen=True, slots=True)
class CniSocket:
    """The socket at which kube-ovn-cni answers its plugin, while this agent listens on it."""

    path: str

    @property
    def key(self) -> tuple[object, ...]:
        """The path."""
        return ("socket", self.path)

    @property
    def within(self) -> None:
        """Nothing: the directory is Open vSwitch's."""
        return None
