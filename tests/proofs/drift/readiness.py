"""The node's condition Ready as the API server has it, sampled while something is broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

INTERVAL = 0.1  # seconds between two samples
NODE_PATH = "/api/v1/nodes/n0"


class Readiness:
    """Samples the condition during a `with` block."""

    def __init__(self, get: Callable[[str], dict[str, Any]]) -> None:
        self._get = get
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._broken_since: float | None = None
        self.samples = 0
        self.longest = 0.0

    def __enter__(self) -> Self:
        """Begin to sample."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the last sample."""
        self._ended.set()
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether the node is Ready by the last sample."""
        return self._broken_since is None

    def _sample(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                ready, now = is_ready(self._get(NODE_PATH)), time.monotonic()
            except OSError:
                continue
            self.samples += 1
            if self._broken_since is None and not ready:
                self._broken_since = now
            if self._broken_since is not None:
                self.longest = max(self.longest, now - self._broken_since)
            if ready:
                self._broken_since = None


def is_ready(node: dict[str, Any]) -> bool:
    """Return whether the Node's condition Ready is True."""
    conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
    return conditions.get("Ready") == "True"
