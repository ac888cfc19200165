"""Docstrings and comments of the product: enough of them, imperative, in the words of the field."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from unit.architecture.test_layout import ROOT, ROOTS, files

LEAST_IMPERATIVE = 0.9
LEAST_DENSITY = 18  # lines of comments and docstrings per 100 lines of code
_VERBS = """
    abort accept acquire activate adapt add adjust admit adopt advance allocate allow announce
    answer append apply archive arm arrange ask assert assign attach await back begin bind block
    bound break bring build cache calculate call cancel cap carry change check choose claim
    classify clean clear close collect combine commit compare complete compose compute configure
    confirm connect consider consume convert copy count create cut deallocate decide declare
    decode decrease deduce deduplicate defer define delay delete deliver deny derive describe
    detach detect determine discard disconnect dispatch divide do drain draw drop dump edit emit
    empty enable encode end enforce ensure enter enumerate escape establish estimate evaluate
    examine exclude execute exit expand expect expire explain export expose extend extract fail
    feed fetch fill filter find finish fit flag flatten flush follow forbid force forget format
    forward free freeze gather generate get give grant group guard handle hash hide hint hold
    ignore import impose include increment index infer inform initialise initialize insert
    inspect install interpret interrupt invalidate invoke isolate issue iterate join judge keep
    kill label lead leave let limit link list listen load lock log look loop lower make map mark
    mask match measure merge migrate move name normalise normalize note notice notify obtain
    omit open order override own pack parse pass patch pause perform pick pin place plan police
    poll pop post prefer prepare present print process produce program promote propose protect
    prove provide prune publish pull push put query queue quote raise rank rate read rebuild
    recalculate receive recognise recognize recompute reconcile reconnect record recover
    redirect reduce refer refresh refuse register reject release reload remember remove rename
    render renew reopen repair repeat replace reply report represent request require reread
    rescan reserve reset resolve respond restart restore restrict resume resync retain retire
    retry return reuse reverse revert revoke rewrite roll rotate round route run sample save say
    scan schedule search see select send separate serialise serialize serve set settle shape
    share shorten show shrink shuffle shut sign signal simulate skip sleep slow sort spawn
    specify spend split start state stop store strip subscribe sum summarise summarize supervise
    suppress suspend swap switch synchronise synchronize tag take tear tell terminate test
    throttle time touch track transfer transform translate treat trigger trim truncate trust try
    turn type unbind undo unify uninstall unlink unlock unmark unpack update upgrade use
    validate verify visit wait wake walk warn watch withdraw work wrap write yield
"""
VERBS = frozenset(_VERBS.split())
# Words that stood for something else here once, and have no plain use in this code.
BANNED = re.compile(
    r"\b(guests?|desks?|pace|calms?|renewals?|rivals?|patience|patient|bereft|doomed|strangers?|whoever|"
    r"bears|hears|tells|dies|mend(ed|s)?|anew|nobody's|(is|are|was|were) told)\b",
    re.IGNORECASE,
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[Path, str]:
    """Return the text of each module of the product, by its path from the project's root."""
    return {path: (ROOT / path).read_text() for path in files(*ROOTS) if path.suffix == ".py"}


def docstrings(text: str) -> Iterator[tuple[ast.AST, ast.Constant]]:
    """Yield each module, class and function that has a docstring, and the docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield node, first.value


def comments(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the line, the text of each comment, and whether the line has no code."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string, token.line.lstrip().startswith("#")


def not_imperative(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each function with a docstring, and whether that does not begin with a base verb.

    Properties are left out: their docstrings may name what they are.
    """
    for node, constant in docstrings(text):
        if isinstance(node, Function) and not any(
            "property" in ast.unparse(each) for each in node.decorator_list
        ):
            first = re.match(r"[A-Z][a-z]+\b", str(constant.value).strip())
            yield f"{node.lineno} {node.name}", not first or first[0].lower() not in VERBS


def counted(text: str) -> tuple[int, int]:
    """Return how many lines have prose, and how many have code; blank ones are neither."""
    prose = {line for line, _, alone in comments(text) if alone}
    for _, constant in docstrings(text):
        prose |= set(range(constant.lineno, (constant.end_lineno or 0) + 1))
    filled = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    return len(prose & filled), len(filled - prose)


def banned(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the word of each banned word in docstrings and comments."""
    for line, comment, _ in comments(text):
        yield from ((line, found[0]) for found in BANNED.finditer(comment))
    for _, constant in docstrings(text):
        for offset, line_text in enumerate(str(constant.value).splitlines()):
            yield from (
                (constant.lineno + offset, found[0]) for found in BANNED.finditer(line_text)
            )


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    judged = [
        (f"{path}:{where}", wrong)
        for path, text in sources().items()
        for where, wrong in not_imperative(text)
    ]
    offenders = [where for where, wrong in judged if wrong]
    share = 1 - len(offenders) / len(judged)
    listed = "\n".join(offenders)
    assert share >= LEAST_IMPERATIVE, f"{share:.1%} of {len(judged)}; not:\n{listed}"


def test_there_is_enough_prose() -> None:
    prose, code = (sum(each) for each in zip(*map(counted, sources().values()), strict=True))
    assert 100 * prose / code >= LEAST_DENSITY, f"{prose} lines of prose, {code} of code"


def test_the_words_are_the_fields() -> None:
    found = [
        f"{path}:{line}: {word}" for path, text in sources().items() for line, word in banned(text)
    ]
    assert not found, "\n".join(found)


SAMPLE = '''"""The guest
of a desk."""
# It is calm.

def serve():
    """Serve one request."""
    return 1  # anew

def noun():
    """The answer."""

class Box:
    @property
    def size(self):
        """The size."""
'''


def test_the_checks_find_what_they_are_for() -> None:
    assert list(not_imperative(SAMPLE)) == [("5 serve", False), ("9 noun", True)]
    assert counted(SAMPLE) == (6, 6)
    assert sorted(banned(SAMPLE)) == [(1, "guest"), (2, "desk"), (3, "calm"), (7, "anew")]
