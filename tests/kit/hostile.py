"""Annotations as an attacker writes them, and a check that a resource is the pod's own.

An API server refuses more than 256 KiB of annotations on an object, and text that is not UTF-8;
nothing else. So all else is drawn here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_address, ip_interface

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kit import pods
from kit.hostile_values import (
    ADDRESSES,
    CONTROL,
    KEYS,
    LINKS,
    LISTS,
    MACS,
    NUMBERS,
    PATHS,
    PREFIXES,
    WORDS,
)
from kit.pods import Text, key
from ovnlet.core.identity import Node
from ovnlet.core.resources import Port, Resource, Veth

MAX_BYTES = 256 << 10
_PIECES = st.one_of(
    *(
        st.sampled_from(pool)
        for pool in (PATHS, LINKS, CONTROL, WORDS, NUMBERS, ADDRESSES, PREFIXES, MACS)
    )
)
_TOGETHER = st.builds(
    str.join,
    st.sampled_from(("", ",", " ", "/", "\n", ", \x1c")),
    st.lists(_PIECES, min_size=2, max_size=5),
)
_ROUTES = st.lists(
    st.fixed_dictionaries(
        {"gw": st.one_of(st.sampled_from(ADDRESSES), _PIECES)},
        optional={"dst": st.one_of(st.sampled_from(PREFIXES), _PIECES)},
    ),
    max_size=4,
).map(json.dumps)
_HUGE = st.builds(
    lambda text, many: (text * many)[:MAX_BYTES],
    _PIECES.filter(len),
    st.sampled_from((1000, 70_000, MAX_BYTES)),
)
TEXTS = st.one_of(
    _PIECES,
    _TOGETHER,
    _ROUTES,
    st.sampled_from(LISTS),
    _HUGE,
    st.text(st.characters(codec="utf-8"), max_size=40),
)


@st.composite
def annotated(draw: st.DrawFn) -> Text:
    """Draw annotations of a valid pod with a few hostile values, as long as an API server takes."""
    good = draw(pods.fixed())
    bad = draw(st.dictionaries(st.sampled_from(KEYS), TEXTS, min_size=1, max_size=4))
    return _cut(good | draw(pods.live(good)) | bad)


def _cut(text: Text) -> Text:
    left, taken = MAX_BYTES, {}
    for name, value in text.items():
        left -= len(name)
        taken[name] = value.encode()[: max(left, 0)].decode(errors="ignore")
        left -= len(taken[name].encode())
    return taken


def drawn(many: int) -> list[Text]:
    """Return ``many`` drawn pods, the same ones each time, for tests too slow for a property."""
    found: list[Text] = []

    @settings(
        max_examples=many, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
    )
    @given(annotated())
    def draw(text: Text) -> None:
        found.append(text)

    draw()
    return found


NODE = Node("br-int", 1400, userspace=True)
LIMITED = {"ingress_rate": "20", "egress_rate": "20", "latency": "10", "loss": "0.5"}
VALID = {
    "ip_address": "10.16.0.5,fd00::5",
    "cidr": "10.16.0.0/16,fd00::/64",
    "gateway": "10.16.0.1,fd00::1",
    "mac_address": "00:00:00:53:00:01",
    "logical_switch": "blue",
    "allocated": "true",
    "routed": "true",
}
GOOD = {key(name): value for name, value in (VALID | LIMITED).items()}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def _texts(value: object) -> Iterator[str]:
    """Yield every string anywhere in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | frozenset):
        for part in value:
            yield from _texts(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))


_PLAIN = pods.network(GOOD, NODE)
_KNOWN = frozenset(
    _texts((*_PLAIN, *pods.network(GOOD, replace(NODE, lacks=frozenset({"netem"})))))
)
_WHOLE = frozenset(thing.key for thing in _PLAIN if isinstance(thing, Veth | Port))


def foreign_parts(thing: Resource) -> list[str]:
    """Return what in a resource is not the attachment's own; empty if all of it is.

    That is a key, or a string that is neither in the plain network of a valid pod nor a number, a
    MAC or an address in its canonical spelling.
    """
    found = [text for text in _texts(thing) if text not in _KNOWN and not _is_value(text)]
    if (thing.key if thing.within is None else thing.within) not in _WHOLE:
        found.append(f"{thing.key} within {thing.within}")
    return found


def _is_value(text: str) -> bool:
    return bool(_MAC.fullmatch(text) or _NUMBER.fullmatch(text) or _is_fixed(text)) or all(
        map(_is_address, text.split(","))
    )


def _is_fixed(text: str) -> bool:
    """Return whether it is the label with what an ADD fixed, each value in one spelling."""
    try:
        values = json.loads(text)
        addresses, mac, switch = values.pop("ip"), values.pop("mac"), values.pop("switch")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    default = values.pop("default", None)
    return (
        values == {"routes": [], "seq": 1}
        and isinstance(default, bool)
        and all(str(ip_interface(each)) == each for each in addresses)
        and bool(_MAC.fullmatch(mac))
        and bool(re.fullmatch(r"|[a-z0-9]([-a-z0-9.]*[a-z0-9])?", switch))
    )


def _is_address(text: str) -> bool:
    try:
        return str(ip_address(text)) == text
    except ValueError:
        return False
