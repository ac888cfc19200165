"""The codec between Python values and OVSDB's JSON notation (RFC 7047, section 5.1).

A map is a dict, a set is a frozenset, an optional value is an atom or None. Every value of a
transaction passes through here, because only here text that would break the connection is
refused. Table and column names belong to the callers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from ovnlet.core.errors import NodeFault

_DEFAULTS = {
    "string": "",
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def encode_atom(value: Any) -> Any:
    """Return ``value`` itself: text, a number, a boolean, or a reference that is encoded already.

    Raise NodeFault for text with a NUL byte or a lone surrogate. ovsdb-server answers neither with
    an error: it closes the connection, so every other transaction on it would fail as well.
    """
    if isinstance(value, str) and (
        "\0" in value or value.encode(errors="ignore").decode() != value
    ):
        raise NodeFault(f"OVSDB cannot hold the text {value!r}")
    return value


def encode_set(values: Iterable[Any]) -> list[Any]:
    """Return a set. Its atoms are sorted, so that equal values give equal transactions."""
    return ["set", sorted(map(encode_atom, values))]


def encode_map(values: Mapping[Any, Any]) -> list[Any]:
    """Return a map, sorted by key."""
    return [
        "map",
        [[encode_atom(key), encode_atom(value)] for key, value in sorted(values.items())],
    ]


def encode_optional(value: Any) -> Any:
    """Return the atom, or the empty set that stands for None."""
    return ["set", []] if value is None else encode_atom(value)


def encode_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row, each encoded by the type of its Python value.

    Lists pass unchanged: references and other values that are encoded already.
    """
    return {column: _encode(value) for column, value in row.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return encode_map(value)
    if isinstance(value, set | frozenset):
        return encode_set(value)
    return encode_optional(value)


def reference(uuid: str) -> list[str]:
    """Return a reference to a row by its UUID."""
    return ["uuid", uuid]


def named_reference(name: str) -> list[str]:
    """Return a reference to a row that the same transaction inserts under this `uuid-name`."""
    return ["named-uuid", name]


def where_uuid(uuid: str) -> list[Any]:
    """Return the condition that selects one row by its UUID."""
    return [["_uuid", "==", reference(uuid)]]


def where_name(name: str) -> list[Any]:
    """Return the condition that selects rows by their column `name`."""
    return [["name", "==", encode_atom(name)]]


@dataclass(frozen=True, slots=True)
class Column:
    """The type of one column.

    ``shape`` says how its values look in Python. ``composite`` says that a `modify` of `update2`
    carries the difference to the old value instead of the new value.
    """

    shape: Literal["map", "set", "optional", "value"]
    composite: bool
    default: Any

    @classmethod
    def parse(cls, description: Any) -> Self:
        """Return the column of a schema's column type (RFC 7047, section 3.2)."""
        if isinstance(description, str):
            description = {"key": description}
        key = description["key"]
        composite = description.get("max", 1) != 1
        if "value" in description:
            return cls("map", composite, {})
        if composite:
            return cls("set", composite, frozenset())
        if description.get("min", 1) == 0:
            return cls("optional", composite, None)
        return cls("value", composite, _DEFAULTS[key if isinstance(key, str) else key["type"]])

    def decode(self, value: Any) -> Any:
        """Return a dict, a frozenset, or an atom, which is None for an empty set."""
        if self.shape == "map":
            return {_decode_atom(key): _decode_atom(item) for key, item in value[1]}
        is_set = isinstance(value, list) and value[0] == "set"
        atoms = [_decode_atom(atom) for atom in (value[1] if is_set else [value])]
        if self.shape == "set":
            return frozenset(atoms)
        return atoms[0] if atoms else None

    def patch(self, old: Any, value: Any) -> Any:
        """Return the value after a `modify` that carries ``value`` for this column.

        For a composite column that is a symmetric difference: of a map, a pair that equals the old
        one is removed. For any other column it is the new value.
        """
        new = self.decode(value)
        if not self.composite:
            return new
        if self.shape == "set":
            return old ^ new
        kept = {key: item for key, item in old.items() if key not in new}
        return kept | {key: item for key, item in new.items() if old.get(key) != item}


def _decode_atom(value: Any) -> Any:
    return value[1] if isinstance(value, list) else value
