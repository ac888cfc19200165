"""One setting: which values it may have, and how a text becomes one of them.

Plain dataclasses, because the agent keeps in memory whatever library reads its settings.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any, Self

_KEY = "setting"


class WrongSettings(ValueError):
    """Settings with values that they may not have. ``values`` has None for one that is missing."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        super().__init__(
            "; ".join(f"{name} may not be {value!r}" for name, value in values.items())
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """The values of one setting.

    Without ``words`` and ``number`` it is a text, all of which ``pattern`` matches. ``words`` are
    the only texts that it may be; with ``is_address`` an IP address too. ``bounds`` are those of a
    number. ``check`` raises ValueError for a value that is wrong all the same.
    """

    description: str
    default: Any = None
    is_required: bool = False
    pattern: str = ""
    words: tuple[str, ...] = ()
    number: type[int] | type[float] | None = None
    bounds: tuple[float, float] = (0, 0)
    is_address: bool = False
    check: Callable[[Any], object] | None = None

    def value_of(self, given: Any) -> Any:
        """Return the value that is given as such or as its text. Raise ValueError for no value."""
        if given is None and self.default is None and not self.is_required:
            return None
        value = self._number(given) if self.number else self._text(given)
        if self.check is not None:
            self.check(value)
        return value

    def _number(self, given: Any) -> float:
        assert self.number is not None  # noqa: S101 - for the type checker
        if not isinstance(given, str | int | float) or isinstance(given, bool):
            raise ValueError("no number")  # noqa: TRY004 - the same for every wrong value
        number, (least, most) = self.number(given), self.bounds
        if not least <= number <= most:
            raise ValueError("out of bounds")
        return number

    def _text(self, given: Any) -> Any:
        text = str(given) if self.is_address else given
        if not isinstance(text, str):
            raise ValueError("no text")  # noqa: TRY004
        if text in self.words:
            return text
        if self.is_address:
            return ip_address(text)
        if self.words or (self.pattern and not re.fullmatch(self.pattern, text)):
            raise ValueError("not allowed")
        return text


def setting(description: str, default: Any = None, **kinds: Any) -> Any:
    """Return a field of a class of settings, see ``Setting``."""
    made = Setting(description, default, **kinds)
    return field(default=default, metadata={_KEY: made})


class Validated:
    """The base of classes of settings, frozen dataclasses: each value is one that it may have."""

    def __post_init__(self) -> None:
        """Turn texts into values. Raise WrongSettings with all that are wrong."""
        wrong: dict[str, Any] = {}
        for name, each in self.settings().items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, each.value_of(given))
            except ValueError:
                wrong[name] = given
        if wrong:
            raise WrongSettings(wrong)

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return the settings by their names."""
        each: Any = cls
        return {one.name: one.metadata[_KEY] for one in fields(each)}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the settings that have these values. Raise WrongSettings."""
        return cls(**given)
