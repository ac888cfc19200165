"""Executes orders inside the node's namespaces, so that entering them is part of no figure.

One JSON object a line, in and out: `{"kind": ..., "jobs": [...]}` is answered with the wall-clock
time of all jobs together and how each ended. The kinds: `run` and `kube-ovn` do all at once,
`shared` has one program for several pods, and of `timed` each job comes with its second.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from time import perf_counter
from typing import Any

from proofs.bench import kube_ovn_calls, processes
from proofs.bench.processes import Job


def main() -> None:
    """Execute orders until stdin ends."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        began = perf_counter()
        if order["kind"] == "kube-ovn":
            done = kube_ovn_calls.together(order["jobs"])
        elif order["kind"] == "shared":
            done = [each for job in order["jobs"] for each in processes.shared(Job(*job))]
        elif order["kind"] == "timed":
            done = processes.timed([(at, Job(*job)) for at, job in order["jobs"]])
        else:
            done = processes.together([Job(*job) for job in order["jobs"]])
        wall = (perf_counter() - began) * 1000
        print(json.dumps({"wall_ms": wall, "done": [astuple(each) for each in done]}), flush=True)


if __name__ == "__main__":
    main()
