"""OVN's hold on a port: `ovn-installed`, lost by whoever overwrites external_ids, and what brings it back.

ovn-controller writes the key when it has installed a port's flows and never looks at it again; the port goes on
forwarding without it. Until a recompute or a change of `iface-id` the key stays lost.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from ovnlet.core.errors import NotReady
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.ovsdb import unixctl
from ovnlet.drivers.ovsdb.replica import Row

INSTALLED = "ovn-installed"
# A row that had the key is given a moment, since OVN itself takes it away and sets it again when a port is rebound;
# one that never had it is still being installed, which takes seconds in a large cluster or a burst.
_LOST_AFTER, _NEVER_AFTER = 0.3, 30.0
# A row that was plugged before this session began: whoever made it has long been answered, or is gone.
_FOUND_AFTER = 3.0
# A recompute is of the whole node, and costly in a large cluster: twenty at once, then one each ten seconds.
_BURST, _REFILL, _SHARED = 20.0, 10.0, 0.5


def installed(row: Row | None) -> bool:
    return row is not None and row["external_ids"].get(INSTALLED) == "true"


class InstalledTracker:
    """Which ports have been plugged without being installed, and for how long. ``hint(mark, name)`` asks for a look.

    ``took(seconds)`` is told how long OVN needed for a port that was made meanwhile.
    """

    def __init__(
        self, hint: Callable[[str, str], None], took: Callable[[float], None] = lambda _: None
    ) -> None:
        self._hint, self._took = hint, took
        self._made: dict[str, float] = {}
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._lost: set[str] = set()
        self._had: set[str] = set()

    def follow(self, old: Row | None, new: Row | None) -> None:
        """A change during a session: a row that comes now was not there at its first dump."""
        if new is not None and old is None:
            self._made[new["name"]] = time.time()
        self.change(old, new)

    def change(self, old: Row | None, new: Row | None) -> None:
        """Follow a row of Interface."""
        if old is not None and (new is None or new["name"] != old["name"]):
            self._settle(old["name"])
            self._made.pop(old["name"], None)
            self._had.discard(old["name"])
        if new is None:
            return
        if (new["ofport"] or 0) <= 0:
            self._had.discard(new["name"])
        elif installed(old) or installed(new):
            self._had.add(new["name"])
        if MARK not in new["external_ids"]:
            return
        self._measure(new)
        if installed(new) or (new["ofport"] or 0) <= 0:
            self._settle(new["name"])
        elif new["name"] not in self._due and new["name"] not in self._lost:
            # Whoever clears all external_ids takes our mark too: it comes back to a row that has neither.
            pause = (
                _FOUND_AFTER
                if old is None
                else _LOST_AFTER
                if new["name"] in self._had
                else _NEVER_AFTER
            )
            loop = asyncio.get_running_loop()
            self._due[new["name"]] = loop.call_later(
                pause, self._lose, new["name"], new["external_ids"][MARK]
            )

    def _measure(self, new: Row) -> None:
        stamp = new["external_ids"].get(f"{INSTALLED}-ts", "")
        if (
            installed(new)
            and stamp.isdecimal()
            and (began := self._made.pop(new["name"], None)) is not None
        ):
            self._took(max(0.0, int(stamp) / 1000 - began))

    def is_lost(self, name: str) -> bool:
        return name in self._lost

    def forget(self) -> None:
        """A new session tells all rows anew."""
        for name in tuple(self._due):
            self._settle(name)
        self._lost.clear()
        self._had.clear()
        self._made.clear()

    def _settle(self, name: str) -> None:
        self._lost.discard(name)
        if (due := self._due.pop(name, None)) is not None:
            due.cancel()

    def _lose(self, name: str, mark: str) -> None:
        del self._due[name]
        self._lost.add(name)
        self._hint(mark, name)


class Recompute:
    """Has ovn-controller compute everything once more."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._left, self._since, self._asked = _BURST, float("-inf"), float("-inf")

    async def __call__(self) -> None:
        """Raises NotReady without an ovn-controller that answers, or where it was asked too often.

        One serves all ports that lost it within half a second; who comes just too late for it comes again.
        """
        now = asyncio.get_running_loop().time()
        if now - self._asked < _SHARED:
            return
        self._left = min(_BURST, self._left + (now - self._since) / _REFILL)
        self._since = now
        if self._left < 1:
            raise NotReady(
                "ovn-installed is lost again and again; ovn-controller was asked often enough for now"
            )
        self._left -= 1
        self._asked = now
        await unixctl.call(
            unixctl.control_socket(self._run_dir, "ovn-controller"), "inc-engine/recompute"
        )
