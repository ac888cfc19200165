"""`python -m install`: the life of an installation, step by step, into build/install.json.

With `--capabilities`, what each capability of the agent's pod is for: build/capabilities.json.
"""

import os
import sys

from install import capabilities, life
from testbed.bed import Bed


def main() -> None:
    name = os.environ.get("OVNLET_INSTALL_BED", "install")
    if Bed.is_alive(name):  # of a run that was killed
        Bed.attach(name).down()
    with Bed.up(name) as bed:
        if "--capabilities" in sys.argv:
            capabilities.run(bed)
        else:
            life.run(bed)


if __name__ == "__main__":
    main()
