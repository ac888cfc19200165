"""The report: the machine, the table and the aims, as files and for the terminal."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kit.report import markdown_table, read_rows, write_page, write_rows
from proofs.bench.comparison import Size
from proofs.bench.rows import Aim, Row, as_json

HEADINGS = ("", "ports", "n", "p50 ms", "p90 ms", "p99 ms", "floor p50", "ratio", "pods/s", "MiB")
NOTES = (
    "floor: tests/proofs/bench/floor.c. An empty static program is the floor of `plugin start`.",
    "floor, one process: the same program, once for all pods of a burst, as an agent is one.",
    "rival: the ovs-vsctl calls of kube-ovn-cni in their order, without its ARP probe, polling"
    " ovn-installed each 500 ms as it does; a call that found ovsdb-server's queue full was"
    " repeated, where its whole ADD fails. Its links are made by `ip`, where netlink in Go is"
    " faster: see the rows of ovs-vsctl alone.",
    "bridge: the reference plugins bridge and host-local; another kind of network,"
    " only for comparison.",
    "CPU is the agent's until it is quiet again, including its observation of its own changes; the"
    " floor's is that of its processes. That of ovs-vswitchd and ovn-controller is what they spent"
    " until the last answer to this agent's programs, or the end of the floor's.",
)


def describe_run(seed: int, size: Size) -> list[str]:
    """Return on what machine, with which versions and how this was measured."""
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    versions = [
        _first_line("ovs-vswitchd", "--version"),
        _first_line("ovn-controller", "--version"),
    ]
    plugins = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Version}", "containernetworking-plugins"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    software = ", ".join([*versions, plugins])
    ports = ", ".join(map(str, size.ports))
    bursts = ", ".join(f"{often} of {many}" for many, often in size.bursts.items())
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} x {model}, load {load}",
        f"Linux {platform.release()}, Python {platform.python_version()}, {software}",
        f"seed {seed}, {size.rounds} rounds at {ports} ports, bursts: {bursts};"
        " implementations in random order",
    ]


def describe_end() -> list[str]:
    """Return how busy the machine was, to be asked for once all is measured."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return [f"load at the end {load}"]


def markdown(head: Sequence[str], rows: Sequence[Row], aims: Sequence[Aim]) -> str:
    """Return the page for the documentation."""
    lines = ["# What an attachment costs", "", *(f"* {fact}" for fact in head), ""]
    lines += [markdown_table(HEADINGS, map(_cells, rows))]
    lines += [
        *(f"* {note}" for note in NOTES),
        "",
        "## Aims",
        "",
        *(f"* {aim}" for aim in aims),
    ]
    return "\n".join(lines) + "\n"


def write(head: Sequence[str], rows: Sequence[Row], aims: Sequence[Aim]) -> None:
    """Write build/bench.md, and the rows to build/bench.json beside those of `measures`."""
    measures = [row for row in read_rows("bench") if "unit" in row]
    write_rows("bench", [*as_json(rows), *measures])
    write_page("bench", markdown(head, rows, aims))


def show(head: Sequence[str], rows: Sequence[Row], aims: Sequence[Aim]) -> None:
    """Print the table and the aims."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="What an attachment costs", caption="\n".join(head), caption_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, _cells(row)))
    console.print(table)
    colours = {True: "green", False: "red", None: "dim"}
    for aim in aims:
        console.print(f"[{colours[aim.met]}]{escape(str(aim))}[/]", highlight=False)


def _cells(row: Row) -> list[str]:
    figures = (
        row.p50_ms,
        row.p90_ms,
        row.p99_ms,
        row.floor_p50_ms,
        row.ratio,
        row.pods_per_s,
        row.mib,
    )
    return [
        row.name,
        str(row.ports),
        str(row.n),
        *("" if figure is None else f"{figure:g}" for figure in figures),
    ]


def _first_line(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition("\n")[
        0
    ]
