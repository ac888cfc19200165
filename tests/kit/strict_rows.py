"""Rows of an Open_vSwitch database in memory."""

from dataclasses import dataclass, field

from ovnlet.core.resources.ovs import MARK


@dataclass(slots=True, eq=False)
class Row:
    """A Port and its Interface.

    ``external_ids`` are the Interface's, ``mark`` is the one in the Port's. ``installed`` is the
    serial number of the link for which OVN installed its flows. ``lost`` means that somebody
    overwrote `ovn-installed`: OVN does not write it again unless asked to recompute. ``blocked``
    are OpenFlow flags that stop the port's traffic. ``serial`` is the row's serial number.
    """

    bridge: str
    name: str
    external_ids: dict[str, str] = field(default_factory=dict)
    mark: str | None = None
    installed: int | None = None
    lost: bool = False
    blocked: tuple[str, ...] = ()
    serial: int = 0

    @property
    def owner(self) -> str | None:
        """Our mark, of either row."""
        return self.mark or self.external_ids.get(MARK)
