"""The formats of `-o`: a table, a wide one, JSON, YAML, or a template of JSONPath.

A template is that of kubectl: `{.items[*].node}` between other text, `{"\\n"}`, and
`{range .items[*]}…{end}`.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import yaml

from ovnlet.cli.output import rows

_PREFIX = "jsonpath="
_PLAIN = ("table", "wide", "json", "yaml")
_PART = re.compile(r"\{((?:[^{}\"']|\"(?:[^\"\\]|\\.)*\"|'[^']*')*)\}")
_RANGE = re.compile(r"\{range ([^}]*)\}(.*?)\{end\}", re.DOTALL)


def _format(_: click.Context, __: click.Parameter, value: str) -> str:
    """Return a value of `-o`. Raise BadParameter if it is no format."""
    if value not in _PLAIN and not value.startswith(_PREFIX):
        raise click.BadParameter(f"{value!r}; allowed: {', '.join(_PLAIN)} or jsonpath=TEMPLATE")
    return value


def _formats(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [each for each in (*_PLAIN, _PREFIX) if each.startswith(incomplete)]


def output_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--output`` with all formats."""
    return click.option(
        "-o",
        "--output",
        callback=_format,
        shell_complete=_formats,
        default="table",
        show_default=True,
        metavar="table|wide|json|yaml|jsonpath=TEMPLATE",
        help="Print a table, one with all columns, JSON, YAML, or what the template selects",
    )(command)


def shown(value: Any, output: str) -> bool:
    """Print the value as JSON, YAML or by the template; return False, and print nothing, for a
    table.
    """
    if output.startswith(_PREFIX):
        click.echo(by_template(value, output.removeprefix(_PREFIX)), nl=False)
    elif output == "json":
        click.echo(json.dumps(value, indent=2, sort_keys=True))
    elif output == "yaml":
        click.echo(yaml.safe_dump(value, sort_keys=True, allow_unicode=True), nl=False)
    return output not in ("table", "wide")


def table(
    headings: Sequence[str],
    cells: Sequence[Sequence[str]],
    output: str,
    wide: int = 0,
    **look: Any,
) -> None:
    """Print a table without its last ``wide`` columns, unless the output is `wide`."""
    last = len(headings) if output == "wide" else len(headings) - wide
    rows(headings[:last], [row[:last] for row in cells], **look)


def by_template(value: Any, template: str) -> str:
    """Return the text of a template. Raise UsageError if it has no meaning."""

    text, at = "", 0
    for block in _RANGE.finditer(template):
        text += _filled(template[at : block.start()], value)
        text += "".join(_filled(block[2], each) for each in _select(block[1].strip(), value))
        at = block.end()
    return text + _filled(template[at:], value)


def _filled(template: str, value: Any) -> str:
    def text(match: re.Match[str]) -> str:
        inside = match[1].strip()
        if inside[:1] in ("'", '"'):
            return inside[1:-1].encode().decode("unicode_escape")
        return " ".join(_plain(each) for each in _select(inside, value))

    return _PART.sub(text, template)


def _select(path: str, value: Any) -> list[Any]:
    from jsonpath import JSONPathError, findall  # noqa: PLC0415 - of the extra, and slow to import

    root = path if path.startswith("$") else f"${'' if path[:1] in ('.', '[') else '.'}{path}"
    try:
        return list(findall("$" if root in ("$.", "$@", "$.@") else root, value))
    except JSONPathError as error:
        raise click.UsageError(f"{path!r} is no JSONPath: {error}") from error


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def told(failed: dict[str, str]) -> None:
    """Print on standard error which nodes have not answered, and why."""
    for node, why in failed.items():
        click.echo(f"{node}: {why}", err=True)


def leave(code: int, failed: dict[str, str]) -> None:
    """End with a code; with 1 if it were 0 and a node has not answered."""
    told(failed)
    if code or failed:
        sys.exit(code or 1)
