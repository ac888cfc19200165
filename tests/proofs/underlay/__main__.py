"""`python -m proofs.underlay`: moves, faults and the way back into build/underlay.json.

`--slice` is what CI runs, in less than four minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from proofs.underlay import outages, pods
from proofs.underlay.moves import Proof
from proofs.underlay.node import uplinked
from proofs.underlay.rows import Row, report

BED = "proof-underlay"
PARTS = ("node", "ways-back", "outages", "kills", "pairs", "pods")


def main() -> int:
    """Run all of it, or a part; return 0 if every row holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.underlay")
    parser.add_argument("--pairs", type=int, default=50, help="random pairs of faults amid moves")
    parser.add_argument("--seed", type=int, default=17, help="of these pairs and their moments")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--slice", action="store_true", help="the moves and the pods alone")
    parser.add_argument("--bed", default=BED, help="the name of the bed")
    chosen = parser.parse_args()
    parts = chosen.only or list(PARTS)
    rows: list[Row] = []
    if set(parts) - {"pods"}:
        with uplinked(chosen.bed) as node:
            proof = Proof(node, chosen.seed)
            for what in _parts(proof, parts, chosen.pairs, short=chosen.slice):
                what()
            rows += proof.rows
    if "pods" in parts:
        rows += pods.run(f"{chosen.bed}-pods")
    return report(rows, "underlay-slice.json" if chosen.slice else "underlay.json")


def _parts(proof: Proof, parts: list[str], pairs: int, *, short: bool) -> list[Callable[[], None]]:
    """Return what is to be tried. The short form is some of each kind that takes seconds."""
    whole: dict[str, list[Callable[[], None]]] = {
        "node": [proof.faults],
        "ways-back": [proof.wrong_vlan, proof.mac_blocked, proof.api_vanishes],
        "outages": [partial(each, proof) for each in outages.ALL],
        "kills": [proof.kills],
        "pairs": [partial(proof.pairs, pairs)],
    }
    if short:
        whole = {"node": [partial(proof.faults, short=True)], "ways-back": [proof.wrong_vlan]}
    chosen = [what for part in parts for what in whole.get(part, ())]
    return [proof.first_move, *chosen, proof.removal]


if __name__ == "__main__":
    sys.exit(main())
