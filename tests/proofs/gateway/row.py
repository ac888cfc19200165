"""A row of build/gateway.json."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Row:
    """A condition for a family: what was seen, whether it was repaired, and the control.

    ``others_whole`` is whether the rules of a firewall were as before after the repair.
    """

    condition: str
    family: str
    seen: str = ""
    ok: bool = False
    repaired: bool = False
    repaired_ms: float | None = None
    control_broken: bool = False
    others_whole: bool = True

    @property
    def holds(self) -> bool:
        """Whether everything about it is as it should be."""
        return self.ok and self.repaired and self.control_broken and self.others_whole
