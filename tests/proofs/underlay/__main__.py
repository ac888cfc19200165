"""`python -m proofs.underlay`: moves, faults and the way back into build/underlay.json.

`--slice` is some of each on one node, in less than four minutes, into build/underlay-slice.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from proofs.underlay import kills, leases, networkd, outages, pods, ways_back
from proofs.underlay.moves import Proof
from proofs.underlay.node import Uplinked, uplinked
from proofs.underlay.rows import Row, report, show
from testbed.bed import Bed

PARTS = ("node", "ways-back", "outages", "kills", "pairs", "leases", "networkd", "pods")
# The slice kills the agent after each so many steps.
STRIDE = 9


def main() -> int:
    """Run all of it, or a part; return 0 if every row holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.underlay")
    parser.add_argument("--pairs", type=int, default=50, help="random pairs of faults amid moves")
    parser.add_argument("--seed", type=int, default=17, help="of these pairs and their moments")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--slice", action="store_true", help="some of each part")
    parser.add_argument("--bed", default="proof-underlay", help="the name of the beds")
    chosen = parser.parse_args()
    parts = chosen.only or list(PARTS)
    rows: list[Row] = []
    for name in (chosen.bed, f"{chosen.bed}-pods"):
        if Bed.is_alive(name):  # of a run that was killed
            Bed.attach(name).down()
    if set(parts) - {"pods"}:
        with uplinked(chosen.bed) as node:
            proof = Proof(node, chosen.seed)
            try:
                for what in _parts(proof, parts, chosen.pairs, short=chosen.slice):
                    _try(proof, what)
            except KeyboardInterrupt:
                proof.row("interrupted")
            rows += proof.rows
    if "pods" in parts and not chosen.slice:
        rows += pods.run(f"{chosen.bed}-pods")
    return report(rows, "underlay-slice" if chosen.slice else "underlay")


def _try(proof: Proof, what: Callable[[], None]) -> None:
    """Try one thing, and print its rows. What it raises is a row that does not hold."""
    had = len(proof.rows)
    try:
        what()
    except Exception as error:  # noqa: BLE001 - the rest is tried
        proof.row(repr(error))
    for row in proof.rows[had:]:
        show(row)


def _extend(proof: Proof, run: Callable[[Uplinked, int], list[Row]]) -> None:
    """Add the rows of a part that has another configuration of the node."""
    proof.rows += run(proof.node, proof.seed)


def _parts(
    proof: Proof, parts: list[str], pairs: int, *, short: bool
) -> Iterator[Callable[[], None]]:
    """Yield what is to be tried on one node. The short form is some of each kind."""
    yield proof.first_move
    ways = (ways_back.wrong_vlan, ways_back.mac_blocked, ways_back.api_vanishes)
    every: dict[str, list[Callable[[], None]]] = {
        "node": [partial(proof.faults, short=short)],
        "ways-back": [partial(each, proof) for each in ways[: 1 if short else None]],
        "outages": [partial(each, proof) for each in outages.ALL[: -1 if short else None]],
        "kills": [partial(kills.each_step, proof, STRIDE if short else 1)],
        "pairs": [partial(kills.pairs, proof, 4 if short else pairs)],
    }
    for part in parts:
        yield from every.get(part, ())
    yield proof.removal
    configured = {"leases": leases.run, "networkd": networkd.run}
    for part in () if short else parts:
        if part in configured:
            yield partial(_extend, proof, configured[part])


if __name__ == "__main__":
    sys.exit(main())
