"""The OVSDB codec: shapes, and text that no driver may send."""

from typing import Any

import pytest

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import OvsQos, Port
from ovnlet.core.resources.northbound import Switch, SwitchPort
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.northbound import encoding as northbound
from ovnlet.drivers.ovs import operations
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.encoding import (
    Column,
    encode_atom,
    encode_map,
    encode_optional,
    encode_row,
    encode_set,
)

UNSENDABLE = ["a\0b", "\0", "\ud800"]
STRING = {"key": "string", "min": 0}


@pytest.mark.parametrize(
    ("description", "value"),
    [
        ({**STRING, "max": "unlimited", "value": "string"}, {"b": "2", "a": "1"}),
        ({**STRING, "max": "unlimited"}, frozenset({"b", "a"})),
        ({**STRING, "max": "unlimited"}, frozenset()),
        (STRING, "text"),
        (STRING, None),
        ("integer", 7),
        ("boolean", True),
    ],
)
def test_what_is_encoded_decodes_to_the_same_value(description: Any, value: Any) -> None:
    assert Column.parse(description).decode(encode_row({"x": value})["x"]) == value


def test_maps_and_sets_are_sorted() -> None:
    assert encode_map({"b": "2", "a": "1"}) == ["map", [["a", "1"], ["b", "2"]]]
    assert encode_set(["b", "a"]) == ["set", ["a", "b"]]
    assert encode_optional(None) == ["set", []]


@pytest.mark.parametrize("text", UNSENDABLE)
def test_text_that_ovsdb_cannot_hold_is_refused_wherever_it_stands(text: str) -> None:
    for encode in (
        lambda: encode_atom(text),
        lambda: encode_optional(text),
        lambda: encode_set({"a", text}),
        lambda: encode_map({"a": text}),
        lambda: encode_map({text: "a"}),
        lambda: encode_row({"name": text}),
        lambda: encode_row({"external_ids": {"a": text}}),
    ):
        with pytest.raises(NodeFault, match="OVSDB cannot hold the text"):
            encode()


@pytest.mark.parametrize("text", UNSENDABLE)
def test_no_driver_sends_it(text: str) -> None:
    labels = frozenset({(MARK, "c1/eth0"), ("pod", text)})
    index = VswitchIndex()
    index.reload(
        {
            **{table: {} for table in ("Open_vSwitch", "Port", "Interface", "QoS", "Queue")},
            "Bridge": {"b": {"name": "br-int", "ports": frozenset()}},
        }
    )
    for resource in (
        Port("br-int", "c1_h", labels),
        OvsQos(("port",), "c1_h", 1000, 100, labels),
        OvsQos(
            ("port",), "c1_h", 1000, 100, frozenset({(MARK, "c1/eth0")}), frozenset({("x", text)})
        ),
    ):
        with pytest.raises(NodeFault, match="OVSDB cannot hold the text"):
            operations.ops([Step(Verb.ENSURE, resource)], index)
    changed = (
        Switch("sw", frozenset({("subnet", text)})),
        SwitchPort("sw", "pod", addresses=text),
        SwitchPort("sw", "pod", addresses="dynamic", port_security=text),
        SwitchPort("sw", "pod", addresses="dynamic", labels=frozenset({("pod", text)})),
    )
    new = (*changed, Switch(text, frozenset()))
    uuid = "00000000-0000-0000-0000-000000000001"
    for row, there in (*((row, uuid) for row in changed), *((row, None) for row in new)):
        target = northbound.Target(there, "parent", "row_1", None)
        with pytest.raises(NodeFault, match="OVSDB cannot hold the text"):
            list(northbound.ops(Step(Verb.ENSURE, row), target, None))
