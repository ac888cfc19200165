"""`python -m testbed`: named beds from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys

from testbed import clean, deploy, layout, progress
from testbed.bed import Bed
from testbed.inventory import inventory
from testbed.machine import machine
from testbed.service import BedError
from testbed.space import CLEAN


def up(told: argparse.Namespace) -> None:
    bed = Bed.up(told.name, nodes=told.nodes, parts=told.parts.split(","))
    if bed.parts & layout.CONTROL_PARTS:
        print(f"export KUBECONFIG={bed.kubeconfig}")


def down(told: argparse.Namespace) -> None:
    clean.remove(told.name)


def shell(told: argparse.Namespace) -> None:
    _enter(told, [os.environ.get("SHELL", "/bin/sh")])


def execute(told: argparse.Namespace) -> None:
    _enter(told, told.command)


def _enter(told: argparse.Namespace, command: list[str]) -> None:
    bed = Bed.attach(told.name)
    space = bed.space(told.node)
    facts = {"PS1": f"[{space.name}] \\w # ", "TERM": os.environ.get("TERM", "dumb")}
    if bed.parts & layout.CONTROL_PARTS:
        facts["KUBECONFIG"] = str(bed.inner_kubeconfig)
    words = space.enter(command)
    os.execvpe(words[0], words, CLEAN | facts)  # noqa: S606 - this process becomes the shell


def look(told: argparse.Namespace) -> None:
    seen = machine() if told.name == "-" else inventory(Bed.attach(told.name).space(told.node))
    print(json.dumps(seen, indent=1, sort_keys=True))


def image(told: argparse.Namespace) -> None:
    """What is left to an operator: to apply it."""
    bed = Bed.attach(told.name)
    print(f"kubectl apply -k {deploy.overlay(bed, deploy.load(bed), of=deploy.suitable(bed))}")


def listing(_: argparse.Namespace) -> None:
    for name in sorted(clean.names()):
        print(f"{name}\t{'up' if Bed.is_alive(name) else 'dead'}")


def sweep(told: argparse.Namespace) -> None:
    for name in clean.clean(everything=told.all):
        print(f"removed {name}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="testbed", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, work: object, text: str, *, node: bool = False, bed: bool = True
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text)
        made.set_defaults(work=work)
        if bed:
            made.add_argument(
                "name", nargs="?", default="default", help="the bed's name (default: %(default)s)"
            )
        if node:
            made.add_argument("node", nargs="?", help="n0, n1 or ctl (default: the first there is)")
        return made

    making = verb("up", up, "bring a bed up")
    making.add_argument("--nodes", type=int, default=1, choices=(1, 2))
    making.add_argument(
        "--parts", default=",".join(sorted(layout.ALL_PARTS)), help="default: %(default)s"
    )
    verb("down", down, "end and remove a bed")
    verb("shell", shell, "a shell in one of its spaces", node=True)
    verb("exec", execute, "run a command there: exec NAME [NODE] -- COMMAND ...", node=True)
    verb("inventory", look, "what is there, as JSON (the name `-`: outside all beds)", node=True)
    verb("image", image, "build ovnlet's image, import it on the nodes and say how to install it")
    verb("list", listing, "every bed that left a trace", bed=False)
    verb("clean", sweep, "remove the dead ones", bed=False).add_argument(
        "--all", action="store_true", help="the living too"
    )
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    told = parser.parse_args(words[:cut], argparse.Namespace(command=words[cut + 1 :] or ["true"]))
    try:
        told.work(told)
    except BedError as error:
        progress.say(str(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
