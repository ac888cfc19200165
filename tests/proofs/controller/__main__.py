"""`python -m proofs.controller`: measure, and write build/controller.json."""

from __future__ import annotations

import argparse
import os
import sys

from proofs.bench import measures
from proofs.controller import ports, services


def main() -> int:
    """Run the measurements. Return 0 if every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="proofs.controller", description=__doc__)
    parser.add_argument("--services", type=int, default=2000, help="number of Services")
    parser.add_argument("--endpoints", type=int, default=10, help="endpoints of each Service")
    parser.add_argument("--pods", type=int, default=1000, help="pods that are created at once")
    parser.add_argument("--many", type=int, default=5000, help="pods at the restart")
    parser.add_argument("--only", choices=("services", "ports"), help="one part of it")
    chosen = parser.parse_args()
    name = os.environ.get("OVNLET_BENCH_BED", "controller-bench")
    good = True
    if chosen.only != "services":
        found = ports.run(f"{name}-ports", ports.Size(chosen.pods, chosen.many))
        measures.add(found, (ports.PREFIX,), report="controller")
        good = all(each.ok for each in found)
    if chosen.only != "ports":
        found = services.run(name, services.Size(chosen.services, chosen.endpoints))
        measures.add(found, (services.PREFIX,), report="controller")
        good = good and all(each.ok for each in found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
