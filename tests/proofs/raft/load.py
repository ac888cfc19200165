"""Pods that are created at a steady rate, and when each was allocated."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from testbed.api import Api
from testbed.workloads import OVN

PODS = "/api/v1/namespaces/default/pods"


@dataclass
class Load:
    """Creates ``rate`` pods a minute, bound to a node, and watches their annotations."""

    api: Api
    rate: float
    created: dict[str, float] = field(default_factory=dict)
    allocated: dict[str, float] = field(default_factory=dict)
    addresses: dict[str, set[str]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Create and watch in threads until `stop`."""
        for work in (self._create, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """End the threads."""
        self._ended.set()

    def add(self, name: str) -> None:
        """Create one pod."""
        spec = {"nodeName": "n0", "containers": [{"name": "c", "image": "x"}]}
        self.created[name] = time.monotonic()
        self.api.create(PODS, {"metadata": {"name": name}, "spec": spec})

    def waiting(self, *, since: float = 0.0) -> list[str]:
        """Return the pods created since then that are not allocated."""
        return [
            name
            for name, at in tuple(self.created.items())
            if at >= since and name not in self.allocated
        ]

    def waits(self, since: float, until: float) -> dict[str, tuple[float, float]]:
        """Return from when to when each pod that was created between two moments waited."""
        return {
            name: (at, self.allocated.get(name, until))
            for name, at in tuple(self.created.items())
            if since <= at <= until
        }

    def duplicates(self) -> int:
        """Return how many addresses more than one pod was given, ever, by its annotations."""
        every = [address for given in self.addresses.values() for address in given]
        return len(every) - len(set(every))

    def _create(self) -> None:
        number = 0
        while not self._ended.wait(60 / self.rate):
            self.add(f"web-{number}")
            number += 1

    def _watch(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError, json.JSONDecodeError):
                for _, body in self.api.watch(PODS):
                    self._note(body)

    def _note(self, body: dict[str, Any]) -> None:
        meta = body.get("metadata", {})
        given = meta.get("annotations", {}).get(f"{OVN}/ip_address")
        if given and meta["annotations"].get(f"{OVN}/routed") == "true":
            self.allocated.setdefault(meta["name"], time.monotonic())
            self.addresses.setdefault(meta["name"], set()).update(given.split(","))
