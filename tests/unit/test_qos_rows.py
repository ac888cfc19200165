"""The OVSDB rows of a limit, and with which resource a limit is removed."""

from collections.abc import Callable

import pytest

from kit import pods
from kit.pods import key
from ovnlet.core import desired
from ovnlet.core.annotations import parse
from ovnlet.core.resources import OvsPolicing, OvsQos, TbfQdisc, Veth
from ovnlet.drivers.ovs import qos_rows
from unit.test_annotations import DUAL
from unit.test_qos import NODE, resources


def _alter_type(qos_row: dict[str, object], _: dict[str, object]) -> None:
    qos_row["type"] = "linux-noop"


def _alter_speed(qos_row: dict[str, object], _: dict[str, object]) -> None:
    qos_row["other_config"] = {"max-rate": "1"}


def _alter_label(_: dict[str, object], queue: dict[str, object]) -> None:
    queue["external_ids"] = {}


def _alter_queue(_: dict[str, object], queue: dict[str, object]) -> None:
    queue["other_config"] = {"max-rate": "fast", "burst": "1"}


@pytest.mark.parametrize("alter", [_alter_type, _alter_speed, _alter_label, _alter_queue])
def test_altered_rows_are_not_intact(
    alter: Callable[[dict[str, object], dict[str, object]], None],
) -> None:
    shaped = resources({key("ingress_rate"): "5"})[OvsQos]
    assert isinstance(shaped, OvsQos)
    rows = qos_rows.columns(shaped)
    alter(*rows)
    assert not qos_rows.value(shaped.port, shaped.name, *rows).intact


def test_limits_are_within_their_port_and_link() -> None:
    network = desired.network(
        pods.ATTACHMENT, parse(DUAL | {key("egress_rate"): "5"}, "ovn", "eth0"), NODE
    )
    (veth,) = [each for each in network if isinstance(each, Veth)]
    found = {type(each): each for each in network}
    assert found[OvsPolicing].within == ("port", "br-int", veth.host, False)
    assert found[TbfQdisc].within == veth.key
