"""`python -m install`: the life of an installation, step by step, into build/install.json.

With `--capabilities`, what each capability of the agent's pod is for: build/capabilities.json. With `--alone`, what
rights agent and controller use: build/rbac.json.
"""

import os
import sys

from proofs.install import capabilities, lifecycle, standalone
from testbed import layout
from testbed.bed import Bed

RUNS = {"--capabilities": capabilities.run, "--alone": standalone.run}


def main() -> None:
    name = os.environ.get("OVNLET_INSTALL_BED", "install")
    if Bed.is_alive(name):  # of a run that was killed
        Bed.attach(name).down()
    chosen = next((word for word in sys.argv[1:] if word in RUNS), "")
    parts = layout.ALL_PARTS - ({layout.ASSIGN} if chosen == "--alone" else set())
    with Bed.up(name, parts=parts) as bed:
        RUNS.get(chosen, lifecycle.run)(bed)


if __name__ == "__main__":
    main()
