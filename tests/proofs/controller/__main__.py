"""`python -m proofs.controller`: measure, and write build/controller.json."""

from __future__ import annotations

import argparse
import os
import sys

from proofs.bench import measures
from proofs.controller import services


def main() -> int:
    """Run the measurements. Return 0 if every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="proofs.controller", description=__doc__)
    parser.add_argument("--services", type=int, default=2000, help="number of Services")
    parser.add_argument("--endpoints", type=int, default=10, help="endpoints of each Service")
    chosen = parser.parse_args()
    name = os.environ.get("OVNLET_BENCH_BED", "controller-bench")
    found = services.run(name, services.Size(chosen.services, chosen.endpoints))
    measures.add(found, (services.PREFIX,), report="controller")
    return 0 if all(each.ok for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
