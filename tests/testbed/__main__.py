"""`python -m testbed`: named beds from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys

from testbed import clean, deploy, guest, layout, progress
from testbed.bed import Bed
from testbed.inventory import inventory
from testbed.machine import machine
from testbed.service import BedError
from testbed.space import CLEAN, Space
from testbed.virtual_node import VirtualNode


def up(options: argparse.Namespace) -> None:
    """Bring a bed up and print how to reach its API server."""
    if options.kernel:
        bed = guest.up(options.name)
    else:
        bed = Bed.up(options.name, nodes=options.nodes, parts=options.parts.split(","))
    if bed.parts & layout.CONTROL_PARTS:
        print(f"export KUBECONFIG={bed.kubeconfig}")


def down(options: argparse.Namespace) -> None:
    """Remove a bed."""
    clean.remove(options.name)


def shell(options: argparse.Namespace) -> None:
    """Become a shell in a space, or be the terminal of one in a virtual machine."""
    bed = Bed.attach(options.name)
    space = bed.space(options.node)
    if isinstance(space, VirtualNode):
        space.shell(_environment(bed, space))
    else:
        _enter(bed, space, [os.environ.get("SHELL", "/bin/sh")])


def execute(options: argparse.Namespace) -> None:
    """Become a command in a space; in a virtual machine, run it and exit with its status."""
    bed = Bed.attach(options.name)
    space = bed.space(options.node)
    if isinstance(space, VirtualNode):
        done = space.result(options.command)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        raise SystemExit(done.returncode)
    _enter(bed, space, options.command)


def _environment(bed: Bed, space: Space) -> dict[str, str]:
    """Return what a shell in a space has beside the usual variables."""
    facts = {"PS1": f"[{space.name}] \\w # ", "TERM": os.environ.get("TERM", "dumb")}
    if bed.parts & layout.CONTROL_PARTS:
        facts["KUBECONFIG"] = str(bed.inner_kubeconfig)
    return facts


def _enter(bed: Bed, space: Space, command: list[str]) -> None:
    words = space.enter(command)
    os.execvpe(words[0], words, CLEAN | _environment(bed, space))  # noqa: S606 - becomes the shell


def show_inventory(options: argparse.Namespace) -> None:
    """Print the inventory of a space, or of the machine for the name `-`, as JSON."""
    seen: object = (
        machine()
        if options.name == "-"
        else inventory(Bed.attach(options.name).space(options.node))
    )
    print(json.dumps(seen, indent=1, sort_keys=True))


def image(options: argparse.Namespace) -> None:
    """Build and import ovnlet's image, and print the command that installs it."""
    bed = Bed.attach(options.name)
    print(f"kubectl apply -k {deploy.overlay(bed, deploy.load(bed), of=deploy.suitable(bed))}")


def listing(_: argparse.Namespace) -> None:
    """Print every bed that has left a trace, and whether it is up."""
    for name in sorted(clean.names()):
        print(f"{name}\t{'up' if Bed.is_alive(name) else 'dead'}")


def sweep(options: argparse.Namespace) -> None:
    """Remove the beds that are not up, or all of them."""
    for name in clean.clean(everything=options.all):
        print(f"removed {name}")


def main() -> None:
    """Parse the command line and run its verb; exit with 1 and a message on a BedError."""
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
            made.add_argument("node", nargs="?", help="n0, n1 or ctl (default: the first one)")
        return made

    making = verb("up", up, "bring a bed up")
    making.add_argument(
        "--kernel", action="store_true", help="one node, which is a virtual machine"
    )
    making.add_argument("--nodes", type=int, default=1, choices=(1, 2))
    making.add_argument(
        "--parts", default=",".join(sorted(layout.ALL_PARTS)), help="default: %(default)s"
    )
    verb("down", down, "remove a bed")
    verb("shell", shell, "open a shell in a space of a bed", node=True)
    verb("exec", execute, "run a command in a space: exec NAME [NODE] -- COMMAND ...", node=True)
    verb(
        "inventory",
        show_inventory,
        "print a space's inventory as JSON (with the name `-`: the machine's)",
        node=True,
    )
    verb("image", image, "build ovnlet's image, import it on the nodes and print how to install it")
    verb("list", listing, "list every bed that has left a trace", bed=False)
    verb("clean", sweep, "remove the beds that are not up", bed=False).add_argument(
        "--all", action="store_true", help="also those that are up"
    )
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(
        words[:cut], argparse.Namespace(command=words[cut + 1 :] or ["true"])
    )
    try:
        options.work(options)
    except BedError as error:
        progress.say(str(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
