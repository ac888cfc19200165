"""`python -m proofs.install`: the steps of an installation, written to build/install.json.

With `--capabilities`, what fails without each capability of the agent's pod:
build/capabilities.json. With `--alone`, what rights agent and controller use: build/rbac.json. With
`--release`, the files of a release on an empty node: build/release.json.
"""

import os
import sys

from proofs.install import capabilities, lifecycle, release, standalone
from testbed import layout
from testbed.bed import Bed

RUNS = {
    "--capabilities": capabilities.run,
    "--alone": standalone.run,
    "--release": release.run,
}
ALONE = ("--alone", "--release")  # ovnlet's controller gives the addresses


def main() -> None:
    """Run the chosen steps on a bed of their own, after removing one that a killed run left."""
    name = os.environ.get("OVNLET_INSTALL_BED", "install")
    if Bed.is_alive(name):  # left by a killed run
        Bed.attach(name).down()
    chosen = next((word for word in sys.argv[1:] if word in RUNS), "")
    parts = layout.ALL_PARTS - ({layout.ASSIGN} if chosen in ALONE else set())
    with Bed.up(name, parts=parts) as bed:
        RUNS.get(chosen, lifecycle.run)(bed)


if __name__ == "__main__":
    main()
