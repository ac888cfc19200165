"""Files on the node that a container runtime reads."""

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
