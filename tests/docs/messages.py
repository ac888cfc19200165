"""The messages of the code that a user can meet: settings, annotations, CNI codes, commands.

They are read from the source: the text of each error of ours, with `…` for what is filled in. A
text without words of its own, which only passes on another message, is left out.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("operator/ovnlet", "cni/ovnlet_cni")
PLUGIN = "cni/plugin/ovnlet.c"
# Errors that end in a message for a person, with the position of the text among the arguments.
# `Garbled`, `NotAResult` and plain ValueErrors are part of another message.
TEXT_AT = {
    **dict.fromkeys(
        ("NotReady", "UnknownSandbox", "Taken", "NodeFault", "Unsafe", "InUse", "ApiFault"), 0
    ),
    **dict.fromkeys(("BadCredentials", "Refused", "Disconnected", "InstallError", "Unusable"), 0),
    **dict.fromkeys(("UnusableSocket", "ClickException", "UsageError", "BadParameter"), 0),
    **dict.fromkeys(("NotAllowed", "TermEnded"), 0),
    **dict.fromkeys(("CniError", "invalid"), 1),
    "Invalid": 2,
}
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|.", re.DOTALL)
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")
_FILLED = re.compile(r"%[-.*\d]*l*[sduz]+")
_WORDS = re.compile(r"[A-Za-z_]{2,}")


def found() -> dict[str, str]:
    """Return each message with the file that has it (the first by name)."""
    messages: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for text in of_module(ast.parse(path.read_text())):
                messages.setdefault(text, name)
    for text in of_plugin((ROOT / PLUGIN).read_text()):
        messages.setdefault(text, PLUGIN)
    return messages


def of_module(tree: ast.Module) -> Iterator[str]:
    """Yield the messages in the functions of a module."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned: dict[str, list[ast.expr]] = {}
        for each in ast.walk(function):
            if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
                assigned.setdefault(each.targets[0].id, []).append(each.value)
        for call in _calls(function):
            at = TEXT_AT[_name(call)]
            if at < len(call.args):
                argument = call.args[at]
                named = assigned.get(argument.id, []) if isinstance(argument, ast.Name) else []
                for value in named or [argument]:
                    yield from (text for text in _texts(value) if _says(text))


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls in a function that make an error for a person, raised there or returned."""
    for each in ast.walk(function):
        if isinstance(each, ast.Call) and _name(each) in TEXT_AT:
            yield each


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression can be, with `…` for what is not written there."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts
            )
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one)
            yield from _texts(other)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            ends = list(_texts(right))
            yield from (begin + end for begin in _texts(left) for end in ends)
        case _:
            yield "…"


def of_plugin(source: str) -> Iterator[str]:
    """Yield the messages of the C plugin: the third argument of a call of `fail`."""
    for start in re.finditer(r"\bfail\(", source):
        arguments = list(_arguments(source[start.end() :]))
        if len(arguments) >= 3 and arguments[2].startswith('"'):
            text = "".join(_STRING.findall(arguments[2]))
            yield _FILLED.sub("…", text).replace('\\"', '"')


def _arguments(source: str) -> Iterator[str]:
    """Yield the arguments of a call in C; ``source`` begins behind its opening parenthesis."""
    depth, argument = 0, ""
    for part in _TOKEN.findall(source):
        if depth == 0 and part in (",", ")"):
            yield argument.strip()
            argument = ""
            if part == ")":
                return
        else:
            depth += {"(": 1, ")": -1}.get(part, 0)
            argument += part


def _says(text: str) -> bool:
    """Return whether a text has words of its own."""
    return bool(_WORDS.search(text.replace("…", " ")))
