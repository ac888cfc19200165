"""`ovn-installed`: which ports have lost it, and the recompute that brings it back.

ovn-controller writes this key to Interface.external_ids when it has installed a port's flows, and
never reads it again. A client that overwrites external_ids erases it. The port keeps forwarding,
but the key stays lost until ovn-controller recomputes or the `iface-id` changes.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.ovsdb import unixctl
from ovnlet.drivers.ovsdb.replica import Row

INSTALLED = "ovn-installed"
# Seconds until a missing key counts as lost. A row that had the key waits only a moment: OVN itself
# removes the key and sets it again when it rebinds a port. A row that never had it may still be in
# progress, which takes seconds in a large cluster or a burst.
_LOST_AFTER, _NEVER_AFTER = 0.3, 30.0
# Seconds, for a row that was plugged before this session began. The ADD that created it has long
# been answered, or its process is gone.
_FOUND_AFTER = 3.0
# Seconds after a recompute until a port that OVN has not installed counts as lost again.
_AGAIN_AFTER = 2.0
# A recompute covers the whole node and is costly in a large cluster. So there is a token bucket:
# twenty tokens, and a new one every ten seconds. Requests within half a second share one recompute.
_BURST, _REFILL, _SHARED = 20.0, 10.0, 0.5


def installed(row: Row | None) -> bool:
    """Return whether OVN reports this Interface row as installed."""
    return row is not None and row["external_ids"].get(INSTALLED) == "true"


def plugged(row: Row | None) -> bool:
    """Return whether ovs-vswitchd has given this Interface an OpenFlow port number."""
    return ((row or {}).get("ofport") or 0) > 0


class InstalledTracker:
    """The plugged ports that are not installed, and for how long.

    ``hint(mark, name)`` runs when a port counts as lost. ``record_install_time(seconds)`` runs for
    each port that was created in this session: the time from its row to `ovn-installed`.
    """

    def __init__(
        self,
        hint: Callable[[str, str], None],
        record_install_time: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._hint, self._record_install_time = hint, record_install_time
        self._created: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._lost: dict[str, str] = {}
        self._was_installed: set[str] = set()

    def session_change(self, old: Row | None, new: Row | None) -> None:
        """Apply a change of an Interface row that came after the first dump of the session.

        Unlike a row of the dump, a row that appears now was created just now.
        """
        if new is not None and old is None:
            self._created[new["name"]] = time.time()
        self.change(old, new)

    def change(self, old: Row | None, new: Row | None) -> None:
        """Apply a change of an Interface row, or a row of the first dump."""
        if old is not None and (new is None or new["name"] != old["name"]):
            self._cancel(old["name"])
            self._created.pop(old["name"], None)
            self._was_installed.discard(old["name"])
        if new is None:
            return
        name, has_port = new["name"], plugged(new)
        if not has_port:
            self._was_installed.discard(name)
        elif installed(old) or installed(new):
            self._was_installed.add(name)
        if MARK not in new["external_ids"]:
            return
        self._measure(new)
        if installed(new) or not has_port:
            self._cancel(name)
        elif name not in self._timers and name not in self._lost:
            mark = new["external_ids"][MARK]
            self._later(name, mark, self._delay(name, found=old is None))

    def _delay(self, name: str, *, found: bool) -> float:
        """Return the seconds until the missing key of a port counts as lost.

        ``_was_installed`` is needed because the old row may lack the key too: a client that clears
        external_ids also removes our mark, and only a later change brings the mark back.
        """
        if found:
            return _FOUND_AFTER
        return _LOST_AFTER if name in self._was_installed else _NEVER_AFTER

    def _measure(self, new: Row) -> None:
        """Record the install time of a created port. `ovn-installed-ts` is in ms since 1970."""
        stamp = new["external_ids"].get(f"{INSTALLED}-ts", "")
        if (
            installed(new)
            and stamp.isdecimal()
            and (created := self._created.pop(new["name"], None)) is not None
        ):
            self._record_install_time(max(0.0, int(stamp) / 1000 - created))

    def is_lost(self, name: str) -> bool:
        """Return whether this port is plugged, has lost `ovn-installed`, and nothing was done."""
        return name in self._lost

    def requested(self, names: Iterable[str]) -> None:
        """Give OVN two seconds to install these lost ports again, for which it was asked."""
        for name in self._lost.keys() & set(names):
            self._later(name, self._lost.pop(name), _AGAIN_AFTER)

    def reset(self) -> None:
        """Forget everything, before the rows of a new session."""
        for name in tuple(self._timers):
            self._cancel(name)
        self._lost.clear()
        self._was_installed.clear()
        self._created.clear()

    def _later(self, name: str, mark: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(seconds, self._mark_lost, name, mark)

    def _cancel(self, name: str) -> None:
        self._lost.pop(name, None)
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def _mark_lost(self, name: str, mark: str) -> None:
        del self._timers[name]
        self._lost[name] = mark
        self._hint(mark, name)


async def no_recompute() -> None:
    """Stand in for a recompute where no ovn-controller is known. Raise NodeFault."""
    raise NodeFault("no ovn-controller is configured that could recompute")


class Recompute:
    """A request to ovn-controller to compute all flows again, with a limited rate."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._tokens = _BURST
        self._refilled, self._requested = float("-inf"), float("-inf")  # loop seconds

    async def __call__(self) -> None:
        """Request a recompute, and wait for the answer of ovn-controller.

        One recompute serves all ports that lost the key within half a second. A port that lost it
        just too late for that stays lost, so its next check asks again. Raise NotReady if
        ovn-controller does not answer or if no token is left.
        """
        now = asyncio.get_running_loop().time()
        if now - self._requested < _SHARED:
            return
        self._tokens = min(_BURST, self._tokens + (now - self._refilled) / _REFILL)
        self._refilled = now
        if self._tokens < 1:
            raise NotReady(
                "ovn-installed is lost again and again;"
                " no further recompute is requested from ovn-controller for now"
            )
        self._tokens -= 1
        self._requested = now
        await unixctl.call(
            unixctl.control_socket(self._run_dir, "ovn-controller"), "inc-engine/recompute"
        )
