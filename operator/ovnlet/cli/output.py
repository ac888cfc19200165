"""How a command answers: a table with colours on a terminal, tabs where it is no terminal, JSON or YAML when asked."""

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
# Exit codes, told in docs/reference/cli.md.
DIFFERENT, FAULTY = 2, 3


def output_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="for people, or for programs",
    )(command)


def dumped(value: Any, output: str) -> bool:
    """Print as JSON or YAML; False where a table is asked for."""
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
    """``style`` gives the colour of a row by its first cell."""
    if not sys.stdout.isatty():
        for row in cells:
            click.echo("\t".join(cell.replace("\n", "; ") for cell in row))
        return
    table = Table(
        *headings,
        title=title or None,
        show_lines=any("\n" in cell for row in cells for cell in row),
    )
    for row in cells:
        table.add_row(*(Text(cell) for cell in row), style=style(row[0]) if style else None)
    Console().print(table)
