"""The group of commands: `ovnlet cluster …`, and `kubectl ovnlet …` by the programs of a plugin.

kubectl runs `kubectl-ovnlet` for the commands, and `kubectl_complete-ovnlet` for completion: it
prints one proposal a line, and then a directive.
"""

import os
import sys
from collections.abc import Mapping

import click
from click.shell_completion import ShellComplete

from ovnlet.cli.lazy import Lazy

_PROGRAM = "kubectl ovnlet"
# Of kubectl's completion: propose no files.
_NO_FILES = ":4"


class _Group(Lazy):
    modules: Mapping[str, str] = {
        "status": "ovnlet.cluster.status",
        "pods": "ovnlet.cluster.pods",
        "show": "ovnlet.cluster.pods",
        "plan": "ovnlet.cluster.pods",
        "events": "ovnlet.cluster.events",
        "doctor": "ovnlet.cluster.doctor",
        "bundle": "ovnlet.cluster.bundle",
        "trace": "ovnlet.cluster.trace",
        "version": "ovnlet.cluster.version",
    }


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
def cluster() -> None:
    """Ask all agents of a cluster at once, through the API server. Also `kubectl ovnlet`."""


def kubectl() -> None:
    """Run as kubectl's plugin."""
    cluster(prog_name=_PROGRAM)


def kubectl_complete() -> None:
    """Print proposals for the last word, as kubectl asks for them."""
    *words, last = sys.argv[1:] or [""]
    found = ShellComplete(cluster, {}, _PROGRAM, "").get_completions(words, last)
    sys.stdout.write("".join(f"{each.value}{os.linesep}" for each in found) + f"{_NO_FILES}\n")
