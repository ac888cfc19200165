"""Each message that a user can meet is on the page of errors, with cause and fix."""

import ast

from docs import messages
from docs.reference import MESSAGES

TOLD = [text for section in MESSAGES.values() for text in section]


def test_each_message_of_the_code_is_told() -> None:
    found = messages.found()
    assert len(found) > 150
    new = {text: place for text, place in found.items() if text not in TOLD}
    assert not new, "write cause and fix into tests/docs/errors.yaml, then UPDATE_DOCS=1"


def test_no_message_is_told_that_the_code_does_not_have() -> None:
    assert sorted(set(TOLD) - messages.found().keys()) == []
    assert len(TOLD) == len(set(TOLD))


def test_each_has_a_cause_and_a_fix() -> None:
    for section in MESSAGES.values():
        for text, row in section.items():
            assert len(row) == 2, text
            assert all(row), text


def test_a_new_message_is_found() -> None:
    source = """
def f(x):
    message = f"a {x} that" + (" is" if x else " was")
    if x:
        raise CniError(Code.DECODE, message, "fix it")
    raise NotReady("wait for " "it")
    raise NotReady(f"{x}")
    raise ValueError("passed on")
"""
    assert set(messages.of_module(ast.parse(source))) == {
        "a … that is",
        "a … that was",
        "wait for it",
    }
    plugin = 'fail(DECODE, "do", "no %.*s \\"here\\": %s", (int)f(x), strerror(errno));'
    assert list(messages.of_plugin(plugin)) == ['no … "here": …']
