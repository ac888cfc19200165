"""Annotations of one attachment, read one by one: what is wrong or rounded is noted on the way."""

from collections.abc import Callable, Mapping

from ovnlet.core import qos
from ovnlet.core.errors import Invalid
from ovnlet.core.qos import Rounded, Wrong

_MAX_VALUE = 64 * 1024


class Reader:
    """Values by their short name, with the full key at hand for the error; what was wrong or rounded is noted."""

    def __init__(self, annotations: Mapping[str, str], key: Callable[[str], str]) -> None:
        self._annotations, self._key = annotations, key
        self.problems: list[Invalid] = []
        self.notices: list[str] = []

    def text(self, name: str) -> str:
        return self._text(self._key(name))

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

    def _text(self, full: str) -> str:
        value = self._annotations.get(full, "")
        if len(value) > _MAX_VALUE:
            raise Invalid(full, value, f"at most {_MAX_VALUE} characters")
        return value.strip()
