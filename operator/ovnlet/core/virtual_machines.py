"""The annotations by which KubeVirt marks the pod of a virtual machine."""

import re
from collections.abc import Mapping

# On each pod that runs a virtual machine: the machine's name.
MACHINE = "kubevirt.io/domain"
# On the target of a live migration: the job. It stays after the migration.
MIGRATION = "kubevirt.io/migrationJobName"
KEYS = (MACHINE, MIGRATION)
# In each network of such a pod, by the controller: the machine's name, which names its port.
SHORT = "virtualmachine"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def named(text: str) -> str:
    """Return the machine's name in the annotation, empty if it is no name of an object."""
    return text if _NAME.fullmatch(text) else ""


def may_announce(annotations: Mapping[str, str], *, first: bool) -> bool:
    """Return whether the node may announce the pod's addresses; ``first`` means at its ADD.

    Source and target of a migration have the same addresses, and only the machine knows which of
    them runs it. So a target is never announced, and a machine that runs is not announced again.
    """
    return MIGRATION not in annotations and (first or MACHINE not in annotations)
