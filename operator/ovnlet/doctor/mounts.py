"""Examines the directories and mounts that the agent needs, and the recorded sandboxes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Life
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.store.sandboxes import decode

NETNS = Path("/run/netns")
_PROPAGATE = (
    "mountPropagation: HostToContainer in the pod; on the node itself mount --make-rshared /run"
)


class Mount(NamedTuple):
    """A mount. ``kind`` is its file system type, empty if there is no mount.

    ``propagated`` is whether mounts that others make below it appear here.
    """

    kind: str
    writable: bool
    propagated: bool


def holding(path: Path, table: str) -> Mount:
    """Return the mount that holds ``path``, by the text of a mountinfo.

    Of several mounts on one mount point it is the topmost one.
    """
    # The fields of a line are described in proc_pid_mountinfo(5).
    lines = [line.split() for line in table.splitlines()]
    above = [words for words in lines if path.is_relative_to(words[4])]
    longest = max((len(Path(words[4]).parts) for words in above), default=0)
    here = [words for words in above if len(Path(words[4]).parts) == longest]
    below = {words[1] for words in here}
    for identity, _, _, _, _, options, *rest in here:
        if identity not in below:
            tags, kind = rest[: rest.index("-")], rest[rest.index("-") + 1]
            return Mount(
                kind,
                "rw" in options.split(","),
                any(tag.startswith(("shared:", "master:")) for tag in tags),
            )
    return Mount("", writable=False, propagated=False)


def examine(settings: Settings) -> Iterator[Finding]:
    """Examine propagation of network namespaces, the run directory, sysctls and the records."""
    table = Path("/proc/self/mountinfo").read_text()
    if not holding(NETNS, table).propagated:
        yield fault("mounts", f"new namespaces under {NETNS} do not appear here", _PROPAGATE)
    else:
        yield ok("mounts", f"{NETNS} is propagated")
    run = Path(settings.run_dir)
    if not run.is_dir():
        yield note("mounts", f"there is no {run} yet", "the agent creates it")
    elif (mount := holding(run.resolve(), table)).kind != "tmpfs":
        fix = (
            "give the agent a directory of the node's /run: records must vanish with the namespaces"
        )
        yield fault("mounts", f"{run} is on {mount.kind}, not on a tmpfs", fix)
    else:
        yield ok("mounts", f"{run} is on a tmpfs")
    if not holding(Path(settings.sysctl_dir).resolve(), table).writable:
        fix = "mount the node's /proc/sys/net as a hostPath elsewhere, and set sysctl_dir to that"
        yield fault("mounts", f"{settings.sysctl_dir} is mounted read-only", fix)
    else:
        yield ok("mounts", f"{settings.sysctl_dir} is writable")
    yield from _sandboxes(run / "sandboxes")


def _sandboxes(directory: Path) -> Iterator[Finding]:
    """Report records that cannot be read, and sandboxes whose network namespace is not visible."""
    links, count = PodLinks(), 0
    for path in sorted(directory.glob("*.json")):
        try:
            attachment = decode(path.read_text()).attachment
            count += 1
            if links.life(attachment) is Life.HIDDEN:
                pod = "/".join(attachment.owner)
                what = f"{pod}: its veth exists, but its netns {attachment.netns} is not visible"
                yield fault("mounts", what, _PROPAGATE)
        except FileNotFoundError:  # the pod was deleted meanwhile
            continue
        except (OSError, ValueError, TypeError, KeyError, OvnletError) as error:
            yield fault(
                "records",
                f"{path}: {error}",
                "remove the file; a running agent writes its records again",
            )
    yield ok("records", f"{count} sandboxes are recorded")
