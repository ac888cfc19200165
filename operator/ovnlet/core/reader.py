"""A reader of one attachment's annotations, one value at a time.

It collects the problems and roundings that it meets.
"""

from collections.abc import Callable, Mapping

from ovnlet.core import qos
from ovnlet.core.errors import Invalid
from ovnlet.core.qos import NotAllowed, Rounded

# In characters. A pod can have 256 KiB of annotations, each pass reads them again, and Python
# stores four bytes per character of a text that contains a single emoji.
_MAX_LENGTH, _MAX_LENGTH_OF = 1024, {"routes": 64 * 1024}


def bounded(value: str) -> str:
    """Return as much of a value as is worth storing.

    A usable value is returned whole. Any other is cut to a length that is still recognised as too
    long.
    """
    return value[: (max(_MAX_LENGTH_OF.values()) if value.isascii() else _MAX_LENGTH) + 1]


class Reader:
    """Access to annotations by their short names.

    ``problems`` and ``notices`` collect rejected and rounded values under their full keys.
    """

    def __init__(self, annotations: Mapping[str, str], key: Callable[[str], str]) -> None:
        """Read from ``annotations``; ``key`` returns the full key of a short name."""
        self._annotations, self._key = annotations, key
        self.problems: list[Invalid] = []
        self.notices: list[str] = []

    def text(self, name: str) -> str:
        """Return a value without surrounding blanks, or an empty string. Raises Invalid.

        Only JSON values may contain line breaks: all others end up in lists and messages.
        """
        full, most = self._key(name), _MAX_LENGTH_OF.get(name, _MAX_LENGTH)
        return self._text(full, most, plain=name not in _MAX_LENGTH_OF)

    def invalid(self, name: str, allowed: str) -> Invalid:
        """Return an Invalid error about this annotation, for the caller to raise."""
        full = self._key(name)
        return Invalid(full, self._annotations.get(full), allowed)

    def number(self, name: str, read: Callable[[str], int]) -> int | None:
        """Return the number that ``read`` makes of the text, or None if absent or rejected."""
        return self.rounded(self._key(name), lambda text: Rounded(read(text)))

    def percent(self, name: str) -> int | None:
        """Return a percentage as millionths, or None if absent or rejected."""
        return self.rounded(self._key(name), qos.percent)

    def rounded(self, full: str, read: Callable[[str], Rounded]) -> int | None:
        """Return the value of a full key, or None if absent or rejected."""
        try:
            if not (text := self._text(full)):
                return None
            found = read(text)
        except NotAllowed as error:
            self.problems.append(Invalid(full, self._annotations.get(full), str(error)))
            return None
        except Invalid as problem:
            self.problems.append(problem)
            return None
        if found.note:
            self.notices.append(f"annotation {full} is {text!r}: {found.note}")
        return found.value

    def _text(self, full: str, most: int = _MAX_LENGTH, *, plain: bool = True) -> str:
        """Return a value without surrounding blanks. Raises Invalid if too long or not plain."""
        value = self._annotations.get(full, "")
        most = most if value.isascii() else _MAX_LENGTH
        if len(value) > most:
            raise Invalid(
                full,
                value,
                f"at most {most} characters"
                + ("" if value.isascii() else " that are not all ASCII"),
            )
        if plain and not value.strip().isprintable():
            raise Invalid(full, value, "text without control characters")
        return value.strip()
