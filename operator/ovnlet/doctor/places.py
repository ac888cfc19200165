"""Directories and mounts that the agent needs, and the sandboxes that must be seen through them."""

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
    """The one that holds a path. ``propagated``: what is mounted below it elsewhere arrives here."""

    kind: str
    writable: bool
    propagated: bool


def holding(path: Path, table: str) -> Mount:
    """By the text of a mountinfo; of several mounts on one point, the one that no other stands on."""
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
    table = Path("/proc/self/mountinfo").read_text()
    if not holding(NETNS, table).propagated:
        yield fault("mounts", f"new namespaces under {NETNS} do not appear here", _PROPAGATE)
    else:
        yield ok("mounts", f"{NETNS} is propagated")
    run = Path(settings.run_dir)
    if not run.is_dir():
        yield note("mounts", f"there is no {run} yet", "the agent makes it")
    elif (mount := holding(run.resolve(), table)).kind != "tmpfs":
        fix = (
            "give the agent a directory of the node's /run: records must vanish with the namespaces"
        )
        yield fault("mounts", f"{run} is on {mount.kind}, not on a tmpfs", fix)
    else:
        yield ok("mounts", f"{run} is on a tmpfs")
    if not holding(Path(settings.sysctl_dir).resolve(), table).writable:
        fix = "mount the node's /proc/sys/net as a hostPath elsewhere, and name that place as sysctl_dir"
        yield fault("mounts", f"{settings.sysctl_dir} is mounted read-only", fix)
    else:
        yield ok("mounts", f"{settings.sysctl_dir} can be written")
    yield from _sandboxes(run / "sandboxes")


def _sandboxes(directory: Path) -> Iterator[Finding]:
    netlink, count = PodLinks(), 0
    for path in sorted(directory.glob("*.json")):
        try:
            attachment = decode(path.read_text()).attachment
            count += 1
            if netlink.life(attachment) is Life.HIDDEN:
                what = f"{'/'.join(attachment.owner)}: its veth lives, its namespace {attachment.netns} cannot be seen"
                yield fault("mounts", what, _PROPAGATE)
        except FileNotFoundError:  # its pod has just gone
            continue
        except (OSError, ValueError, TypeError, KeyError, OvnletError) as error:
            yield fault(
                "records",
                f"{path}: {error}",
                "remove the file; a running agent writes what it knows anew",
            )
    yield ok("records", f"{count} sandboxes are recorded")
