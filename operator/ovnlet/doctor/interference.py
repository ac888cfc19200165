"""Examines what may stop traffic and is not ours: rules, routes, neighbours, a FORWARD policy."""

from collections.abc import Iterator
from pathlib import Path

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import NodeInterface
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.links import accepts, forward, interference
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
    yield from _forwarding(nic.ifname)


def _forwarding(ifname: str) -> Iterator[Finding]:
    """Report chains that drop what goes between pods and other links, and have no rule of ours."""
    try:
        dropping = forward.dropping()
        chains = sorted(frozenset(dropping) - accepts.guarded()) if dropping else []
    except (OvnletError, OSError):
        return  # the examination of the kernel reports that nf_tables cannot be queried
    for each in chains:
        family, table, name = each.split(" ", 2)
        what = f"chain {name} of table {family} {table} has policy drop"
        why = f"what pods send out of the cluster by {ifname}, and its answers, needs a rule there"
        rules = " and ".join(
            f"nft insert rule {each} {way} {ifname} accept" for way in ("iifname", "oifname")
        )
        yield note(_AREA, f"{what}: {why}", rules)


def _beside(where: str, netns: str, ifname: str) -> Iterator[Finding]:
    try:
        found = interference.observe(netns, ifname)
    except (OvnletError, OSError):
        return  # a sandbox that cannot be seen is reported elsewhere
    for each in found:
        report = fault if each.stops else note
        yield report(_AREA, f"{where}: {each.what}", each.remove)
