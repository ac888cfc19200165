"""What is there: `inventory(space)` looks into a space, `machine()` at the machine, `compare` says what changed.

It stands behind every "nothing is left" and "nothing of others changed". Two looks with nothing in between are equal:
counters, lifetimes and what the kernel draws at random are left out. `python -m testbed.inventory` prints one look.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from testbed.space import Space

# Sections of named things, each with its facts.
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
    ),
    *("/etc/openvswitch", "/run/openvswitch", "/etc/ovn", "/run/ovn"),
)
# The database of a running ovsdb-server grows with every transaction, one that changes nothing among them.
VOLATILE_FILES = ("/etc/openvswitch/conf.db", "/etc/openvswitch/.conf.db.~lock~")
VOLATILE_FACTS = ("_life_time", "_timer", "expires", "refcnt", "fdb_n_learned")
VOLATILE_SYSCTLS = (
    "nf_conntrack_count",
    "netdev_rss_key",
    "tcp_fastopen_key",
    "stable_secret",
    "/flush",
)
OVS_DB = Path("/run/openvswitch/db.sock")
OVS_TABLES = {
    "Open_vSwitch": ("external_ids", "other_config", "manager_options"),
    "Bridge": (
        "name",
        "datapath_type",
        "fail_mode",
        "ports",
        "mirrors",
        "external_ids",
        "other_config",
        "controller",
    ),
    "Port": (
        "name",
        "interfaces",
        "qos",
        "tag",
        "trunks",
        "vlan_mode",
        "external_ids",
        "other_config",
    ),
    "Interface": (
        *(
            "name",
            "type",
            "options",
            "ofport",
            "error",
            "mac_in_use",
            "mtu",
            "mtu_request",
            "admin_state",
        ),
        *("ingress_policing_rate", "ingress_policing_burst", "external_ids", "other_config"),
    ),
    "QoS": ("type", "queues", "external_ids", "other_config"),
    "Queue": ("dscp", "external_ids", "other_config"),
    "Mirror": ("name", "select_src_port", "select_dst_port", "output_port", "external_ids"),
}
HASHED = 1 << 24


def inventory(space: Space | None = None) -> Inventory:
    """One look into a space, or without one at where this process is."""
    if space is None:
        return {name: dict(sorted(section().items())) for name, section in SECTIONS.items()}
    code = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return dict(json.loads(space.run([sys.executable, "-m", "testbed.inventory"], env=code)))


def compare(before: Inventory, after: Inventory) -> list[str]:
    """What differs, a line for each thing."""
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


def _said(*argv: str) -> str:
    """What a tool prints; nothing where it is not installed or has nothing to look at."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def _rows(*argv: str) -> list[dict[str, Any]]:
    """JSON rows of iproute2 without what changes by itself. Its empty answers are no JSON."""
    return [row for row in _steady(json.loads(_said(*argv).strip() or "[]")) if row]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _steady(part) for key, part in value.items() if not key.endswith(VOLATILE_FACTS)
        }
    return [_steady(part) for part in value] if isinstance(value, list) else value


def _numbered(pairs: Iterable[tuple[str, Any]]) -> Section:
    """A section of things that may share a name: the second is `name #2`."""
    seen: Counter[str] = Counter()
    section: Section = {}
    for key, value in pairs:
        seen[key] += 1
        section[key if seen[key] == 1 else f"{key} #{seen[key]}"] = value
    return section


def links() -> Section:
    return {row.pop("ifname"): row for row in _rows("ip", "-j", "-d", "link")}


def addresses() -> Section:
    found: Section = {}
    for row in _rows("ip", "-j", "address"):
        for address in row.get("addr_info", []):
            found[
                f"{row['ifname']} {address.pop('local', '?')}/{address.pop('prefixlen', '?')}"
            ] = address
    return found


def routes() -> Section:
    def named() -> Iterator[tuple[str, Any]]:
        for family in ("-4", "-6"):
            for row in _rows("ip", "-j", family, "route", "show", "table", "all"):
                where = [
                    f"{word} {row[word]}"
                    for word in ("table", "dev", "gateway", "metric")
                    if word in row
                ]
                yield " ".join([family, row.get("type", "unicast"), row["dst"], *where]), row

    return _numbered(named())


def rules() -> Section:
    found = [
        (f"{family} {json.dumps(row)}", "")
        for family in ("-4", "-6")
        for row in _rows("ip", "-j", family, "rule")
    ]
    return _numbered(found)


def qdiscs() -> Section:
    def named() -> Iterator[tuple[str, Any]]:
        rows = _rows("tc", "-j", "qdisc", "show")
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
                    for line in _said("tc", thing, "show", "dev", device).splitlines()
                )

    return _numbered(named())


def firewall() -> Section:
    """Every rule of nft and of both iptables with the chain it stands in, without counters, comments and times."""

    def named() -> Iterator[tuple[str, Any]]:
        within: list[str] = []
        for line in _said("nft", "--stateless", "list", "ruleset").splitlines():
            word = line.strip()
            if word == "}":
                within.pop()
            elif word and not word.startswith("#"):
                yield " > ".join(["nft", *within, word.removesuffix(" {")]), ""
                within += [word.removesuffix(" {")] * word.endswith("{")
        for tool in ("iptables", "ip6tables"):
            table = ""
            for line in _said(f"{tool}-save").splitlines():
                table = line if line.startswith("*") else table
                if line.startswith((":", "-A")):
                    yield (
                        f"{tool} {table} {line.partition(' [')[0] if line.startswith(':') else line}",
                        "",
                    )

    return _numbered(named())


def ovsdb() -> Section:
    """Rows by table and name (or UUID where there is none)."""
    found: Section = {}
    for table, columns in OVS_TABLES.items() if OVS_DB.exists() else ():
        told = _said(
            "ovsdb-client",
            "--timeout=5",
            "--format=json",
            "dump",
            f"unix:{OVS_DB}",
            "Open_vSwitch",
            table,
            *columns,
        )
        answer = json.loads(told or '{"headings": [], "data": []}')
        for values in answer["data"]:
            row = dict(zip(answer["headings"], values, strict=True))
            uuid = row.pop("_uuid", ["", ""])[1]
            found[f"{table} {row.get('name') or uuid}"] = row
    return found


def files(folders: Iterable[str] = FOLDERS) -> Section:
    found: Section = {}
    for folder in folders:
        top = Path(folder)
        for path in [top, *sorted(top.rglob("*"))] if top.exists() else []:
            if str(path) not in VOLATILE_FILES:
                found[str(path)] = _file(path)
    return found


def _file(path: Path) -> str:
    """Kind, mode and contents."""
    try:
        facts = path.lstat()
        if path.is_symlink():
            return f"link to {path.readlink()}"
        if not path.is_file() or facts.st_size > HASHED:
            return f"mode {facts.st_mode:o}" + f" size {facts.st_size}" * path.is_file()
        return f"mode {facts.st_mode:o} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:  # went away meanwhile, or is a dead namespace's
        return f"unreadable: {error.strerror}"


def mounts() -> Section:
    def named() -> Iterator[tuple[str, Any]]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            front, _, back = line.partition(" - ")
            _, _, device, root, point, *_ = front.split()
            yield point, f"{' '.join(back.split()[:2])} {device} {root}"

    return _numbered(named())


def sysctls() -> Section:
    found: Section = {}
    for path in Path("/proc/sys/net").rglob("*"):
        if path.is_file() and not str(path).endswith(VOLATILE_SYSCTLS):
            try:
                found[str(path.relative_to("/proc/sys"))] = path.read_text().strip()
            except OSError:  # some can only be written
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
