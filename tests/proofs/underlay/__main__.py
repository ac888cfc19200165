"""`python -m proofs.underlay`: moves, faults and the way back into build/underlay.json."""

from __future__ import annotations

import argparse
import sys

from proofs.underlay import pods
from proofs.underlay.moves import Proof
from proofs.underlay.node import uplinked
from proofs.underlay.rows import Row, report

PARTS = ("node", "pods")


def main() -> int:
    """Run all of it, or a part; return 0 if every row holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.underlay")
    parser.add_argument("--kills", type=int, default=10, help="moments at which an agent ends")
    parser.add_argument("--seed", type=int, default=17, help="of these moments")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--bed", default="proof-underlay", help="the name of the beds")
    chosen = parser.parse_args()
    rows: list[Row] = []
    if "node" in (chosen.only or PARTS):
        with uplinked(chosen.bed) as node:
            proof = Proof(node, chosen.seed)
            for what in (proof.first_move, proof.faults, lambda: proof.kills(chosen.kills)):
                what()
            for what in (proof.wrong_vlan, proof.api_vanishes, proof.removal):
                what()
            rows += proof.rows
    if "pods" in (chosen.only or PARTS):
        rows += pods.run(f"{chosen.bed}-pods")
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
