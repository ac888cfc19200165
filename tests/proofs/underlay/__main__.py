"""`python -m proofs.underlay`: moves, faults and the way back into build/underlay.json.

`--slice` is what CI runs, in less than four minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from proofs.underlay import pods
from proofs.underlay.moves import Proof
from proofs.underlay.node import uplinked
from proofs.underlay.rows import Row, report

BED = "proof-underlay"


def main() -> int:
    """Run all of it, or a part; return 0 if every row holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.underlay")
    parser.add_argument("--pairs", type=int, default=50, help="random pairs of faults amid moves")
    parser.add_argument("--seed", type=int, default=17, help="of these pairs and their moments")
    parser.add_argument("--only", choices=("node", "kills", "pairs", "pods"), action="append")
    parser.add_argument("--slice", action="store_true", help="the moves and the pods alone")
    parser.add_argument("--bed", default=BED, help="the name of the bed")
    chosen = parser.parse_args()
    parts = chosen.only or ["node", "kills", "pairs", "pods"]
    rows: list[Row] = []
    if {"node", "kills", "pairs"} & set(parts):
        with uplinked(chosen.bed) as node:
            proof = Proof(node, chosen.seed)
            for what in _parts(proof, parts, chosen.pairs, short=chosen.slice):
                what()
            rows += proof.rows
    if "pods" in parts:
        rows += pods.run(f"{chosen.bed}-pods")
    return report(rows, "underlay-slice.json" if chosen.slice else "underlay.json")


def _parts(proof: Proof, parts: list[str], pairs: int, *, short: bool) -> list[Callable[[], None]]:
    chosen: list[Callable[[], None]] = [proof.first_move]
    if "node" in parts:
        chosen += [lambda: proof.faults(short=short)]
    if "kills" in parts and not short:
        chosen += [proof.kills]
    if "pairs" in parts and not short:
        chosen += [lambda: proof.pairs(pairs)]
    if "node" in parts:
        chosen += (
            [proof.wrong_vlan]
            if short
            else [
                proof.wrong_vlan,
                proof.mac_blocked,
                proof.api_vanishes,
            ]
        )
    return [*chosen, proof.removal]


if __name__ == "__main__":
    sys.exit(main())
