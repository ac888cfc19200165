"""Examines what may stop traffic and is not ours: rules, routes, neighbours."""

from collections.abc import Iterator
from pathlib import Path

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import NodeInterface
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.links import interference
from ovnlet.drivers.store.sandboxes import decode

_AREA = "traffic"


def examine(settings: Settings) -> Iterator[Finding]:
    """Look beside the node's own interface, and in every recorded sandbox."""
    nic = NodeInterface(settings.node_name)
    found = list(_beside("the node", nic.netns, nic.ifname))
    for path in sorted(Path(settings.run_dir, "sandboxes").glob("*.json")):
        try:
            attachment = decode(path.read_text()).attachment
        except (OSError, ValueError, TypeError, KeyError, OvnletError):
            continue  # torn or gone: the examination of records reports it
        found += _beside("/".join(attachment.owner), attachment.netns, attachment.ifname)
    yield from found or [ok(_AREA, "no foreign rule, route or neighbour comes before ours")]


def _beside(where: str, netns: str, ifname: str) -> Iterator[Finding]:
    try:
        found = interference.observe(netns, ifname)
    except (OvnletError, OSError):
        return  # a sandbox that cannot be seen is reported elsewhere
    for each in found:
        report = fault if each.stops else note
        yield report(_AREA, f"{where}: {each.what}", each.remove)
