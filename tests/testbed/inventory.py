"""An inventory of a node or of the machine, and what has changed between two of them.

`inventory(space)` looks into a space, `machine()` (testbed.machine) at the machine, `compare` names
the changes. Every test that says "nothing is left" or "nothing of others changed" uses it. Two
looks with nothing in between are equal: counters, lifetimes and what the kernel draws at random are
left out. `python -m testbed.inventory` prints one look.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from testbed import ovsdb_dump, tool_output
from testbed.space import Space

# A section has things by their names, each with its properties.
Section = dict[str, Any]
Inventory = dict[str, Section]

FOLDERS = (
    *(
        "/etc/cni",
        "/opt/cni",
        "/var/lib/cni",
        "/run/netns",
        "/run/ovnlet",
        "/run/ovnlet-cni",
        "/var/lib/ovnlet",
        "/etc/systemd/system",
    ),
    *("/etc/openvswitch", "/run/openvswitch", "/etc/ovn", "/run/ovn"),
)
# A running ovsdb-server appends every transaction to its file, also one that changes nothing.
VOLATILE_FILES = ("/etc/openvswitch/conf.db", "/etc/openvswitch/.conf.db.~lock~")
VOLATILE_SYSCTLS = (
    "nf_conntrack_count",
    "netdev_rss_key",
    "tcp_fastopen_key",
    "stable_secret",
    "/flush",
)
HASHED = 1 << 24


def inventory(space: Space | None = None) -> Inventory:
    """Return one look into a space, or without one at the namespaces of this process."""
    if space is None:
        return {name: dict(sorted(section().items())) for name, section in SECTIONS.items()}
    code = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return dict(json.loads(space.run([sys.executable, "-m", "testbed.inventory"], env=code)))


def compare(before: Inventory, after: Inventory) -> list[str]:
    """Return the differences, a line for each thing."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, {}), after.get(name, {})
        lines += [f"{name}: gone: {key}" for key in sorted(old.keys() - new.keys())]
        lines += [
            f"{name}: new: {key}: {_short(new[key])}" for key in sorted(new.keys() - old.keys())
        ]
        for key in sorted(old.keys() & new.keys()):
            lines += [f"{name}: {key}: {change}" for change in _changes(old[key], new[key])]
    return lines


def _changes(old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        facts = sorted(fact for fact in old.keys() | new.keys() if old.get(fact) != new.get(fact))
        return [f"{fact}: {_short(old.get(fact))} -> {_short(new.get(fact))}" for fact in facts]
    return [f"{_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 160 else f"{text[:157]}..."


def links() -> Section:
    """Return the links by name."""
    return {row.pop("ifname"): row for row in tool_output.rows("ip", "-j", "-d", "link")}


def addresses() -> Section:
    """Return the addresses by link."""
    found: Section = {}
    for row in tool_output.rows("ip", "-j", "address"):
        for address in row.get("addr_info", []):
            found[
                f"{row['ifname']} {address.pop('local', '?')}/{address.pop('prefixlen', '?')}"
            ] = address
    return found


def routes() -> Section:
    """Return the routes of all tables."""

    def named() -> Iterator[tuple[str, Any]]:
        for family in ("-4", "-6"):
            for row in tool_output.rows("ip", "-j", family, "route", "show", "table", "all"):
                where = [
                    f"{word} {row[word]}"
                    for word in ("table", "dev", "gateway", "metric")
                    if word in row
                ]
                yield " ".join([family, row.get("type", "unicast"), row["dst"], *where]), row

    return tool_output.numbered(named())


def rules() -> Section:
    """Return the routing rules."""
    found = [
        (f"{family} {json.dumps(row)}", "")
        for family in ("-4", "-6")
        for row in tool_output.rows("ip", "-j", family, "rule")
    ]
    return tool_output.numbered(found)


def qdiscs() -> Section:
    """Return the qdiscs, and the classes and filters of devices that have more than a default."""

    def named() -> Iterator[tuple[str, Any]]:
        rows = tool_output.rows("tc", "-j", "qdisc", "show")
        yield from ((f"{row['dev']} {row['kind']} {row.get('handle')}", row) for row in rows)
        for device in sorted(
            {
                row["dev"]
                for row in rows
                if row["kind"] not in ("noqueue", "mq", "pfifo_fast", "fq_codel")
            }
        ):
            for thing in ("class", "filter"):
                yield from (
                    (f"{device} {thing}", line)
                    for line in tool_output.output("tc", thing, "show", "dev", device).splitlines()
                )

    return tool_output.numbered(named())


def firewall() -> Section:
    """Return the rules of nft and both iptables with their chains.

    Counters, comments and times are left out.
    """

    def named() -> Iterator[tuple[str, Any]]:
        within: list[str] = []
        for line in tool_output.output("nft", "--stateless", "list", "ruleset").splitlines():
            word = line.strip()
            if word == "}":
                within.pop()
            elif word and not word.startswith("#"):
                yield " > ".join(["nft", *within, word.removesuffix(" {")]), ""
                within += [word.removesuffix(" {")] * word.endswith("{")
        for tool in ("iptables", "ip6tables"):
            table = ""
            for line in tool_output.output(f"{tool}-save").splitlines():
                table = line if line.startswith("*") else table
                if line.startswith((":", "-A")):
                    rule = line.partition(" [")[0] if line.startswith(":") else line
                    yield f"{tool} {table} {rule}", ""

    return tool_output.numbered(named())


def ovsdb() -> Section:
    """Return the rows of Open vSwitch's configuration."""
    return ovsdb_dump.rows()


def files(folders: Iterable[str] = FOLDERS) -> Section:
    """Return every file and directory under ``folders``."""
    found: Section = {}
    for folder in folders:
        top = Path(folder)
        for path in [top, *sorted(top.rglob("*"))] if top.exists() else []:
            if str(path) not in VOLATILE_FILES:
                found[str(path)] = _file(path)
    return found


def _file(path: Path) -> str:
    """Return a file's type, mode and digest."""
    try:
        facts = path.lstat()
        if path.is_symlink():
            return f"link to {path.readlink()}"
        if not path.is_file() or facts.st_size > HASHED:
            return f"mode {facts.st_mode:o}" + f" size {facts.st_size}" * path.is_file()
        return f"mode {facts.st_mode:o} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:  # it is removed meanwhile, or names a namespace that has ended
        return f"unreadable: {error.strerror}"


def mounts() -> Section:
    """Return the mounts by mount point."""

    def named() -> Iterator[tuple[str, Any]]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            front, _, back = line.partition(" - ")
            _, _, device, root, point, *_ = front.split()
            yield point, f"{' '.join(back.split()[:2])} {device} {root}"

    return tool_output.numbered(named())


def sysctls() -> Section:
    """Return the readable sysctls of the network."""
    found: Section = {}
    for path in Path("/proc/sys/net").rglob("*"):
        if path.is_file() and not str(path).endswith(VOLATILE_SYSCTLS):
            try:
                found[str(path.relative_to("/proc/sys"))] = path.read_text().strip()
            except OSError:  # some are write-only
                continue
    return found


SECTIONS: dict[str, Callable[[], Section]] = {
    "links": links,
    "addresses": addresses,
    "routes": routes,
    "rules": rules,
    "qdiscs": qdiscs,
    "firewall": firewall,
    "ovsdb": ovsdb,
    "files": files,
    "mounts": mounts,
    "sysctls": sysctls,
}

if __name__ == "__main__":
    print(json.dumps(inventory(), indent=1, sort_keys=True))
