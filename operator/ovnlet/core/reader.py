"""Annotations of one attachment, read one by one: what is wrong or rounded is noted on the way."""

from collections.abc import Callable, Mapping

from ovnlet.core import qos
from ovnlet.core.errors import Invalid
from ovnlet.core.qos import Rounded, Wrong

# Characters. A pod may bear 256 KiB of annotations, each look at it reads them again, and Python takes four bytes for
# each character of a text that has one smiley in it.
_MOST, _MOST_OF = 1024, {"routes": 64 * 1024}


def bounded(value: str) -> str:
    """What is worth keeping of a value: all of one that can be used, of any other enough to see that it cannot."""
    return value[: (max(_MOST_OF.values()) if value.isascii() else _MOST) + 1]


class Reader:
    """Values by their short name, with the full key at hand for the error; what was wrong or rounded is noted."""

    def __init__(self, annotations: Mapping[str, str], key: Callable[[str], str]) -> None:
        self._annotations, self._key = annotations, key
        self.problems: list[Invalid] = []
        self.notices: list[str] = []

    def text(self, name: str) -> str:
        """Without blanks around it. Only JSON may hold line breaks: all other text gets into lists and messages."""
        full, most = self._key(name), _MOST_OF.get(name, _MOST)
        return self._text(full, most, plain=name not in _MOST_OF)

    def invalid(self, name: str, allowed: str) -> Invalid:
        full = self._key(name)
        return Invalid(full, self._annotations.get(full), allowed)

    def number(self, name: str, read: Callable[[str], int]) -> int | None:
        return self.rounded(self._key(name), lambda text: Rounded(read(text)))

    def percent(self, name: str) -> int | None:
        return self.rounded(self._key(name), qos.percent)

    def rounded(self, full: str, read: Callable[[str], Rounded]) -> int | None:
        """None where there is no value, or one that cannot be used."""
        try:
            if not (text := self._text(full)):
                return None
            found = read(text)
        except Wrong as wrong:
            self.problems.append(Invalid(full, self._annotations.get(full), str(wrong)))
            return None
        except Invalid as problem:
            self.problems.append(problem)
            return None
        if found.told:
            self.notices.append(f"annotation {full} is {text!r}: {found.told}")
        return found.value

    def _text(self, full: str, most: int = _MOST, *, plain: bool = True) -> str:
        value = self._annotations.get(full, "")
        most = most if value.isascii() else _MOST
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
