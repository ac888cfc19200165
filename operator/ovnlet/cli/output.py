"""The output of commands: tables with colours on a terminal, and tabs if it is none.

JSON or YAML on request.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMATS = ("table", "json", "yaml")
# Exit codes, listed in docs/reference/cli.md.
DIFFERENT, FAULTY = 2, 3


def output_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Print a table for people, or JSON or YAML for programs",
    )(command)


def dumped(value: Any, output: str) -> bool:
    """Print the value as JSON or YAML; return False, and print nothing, for a table."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, sort_keys=True))
    elif output == "yaml":
        click.echo(yaml.safe_dump(value, sort_keys=True, allow_unicode=True), nl=False)
    return output != "table"


def rows(
    headings: Sequence[str],
    cells: Iterable[Sequence[str]],
    *,
    title: str = "",
    style: Callable[[str], str] | None = None,
) -> None:
    """Print a table, or lines with tabs if standard output is no terminal.

    ``style`` returns the colour of a row for its first cell.
    """
    if not sys.stdout.isatty():
        return _with_tabs(cells)
    table = Table(
        *headings,
        title=title or None,
        show_lines=any("\n" in cell for row in cells for cell in row),
    )
    for row in cells:
        table.add_row(*(Text(cell) for cell in row), style=style(row[0]) if style else None)
    Console().print(table)
    return None


def lines(cells: Sequence[Sequence[str]], *, style: Callable[[str], str] | None = None) -> None:
    """Print rows that need no headings in columns, or with tabs if it is no terminal.

    The last cell is in the last column. ``style`` returns the look of a row's first cell.
    """
    if not sys.stdout.isatty():
        return _with_tabs(cells)
    table, width = Table.grid(padding=(0, 2)), max(map(len, cells))
    for first, *middle, last in cells:
        gap = [""] * (width - 2 - len(middle))
        name = Text(first, style=style(first) if style else "bold")
        table.add_row(name, *map(Text, [*middle, *gap, last]))
    Console().print(table)
    return None


def _with_tabs(cells: Iterable[Sequence[str]]) -> None:
    for row in cells:
        click.echo("\t".join(cell.replace("\n", "; ") for cell in row))
