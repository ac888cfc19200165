"""The tunnel address of each node: declared by its Node, checked, and back whoever changes it."""

from typing import Any, cast

import pytest

from ovnlet.agent.node import ClusterView
from ovnlet.core.chassis import declared_tunnel, desired
from ovnlet.core.resources import ChassisId
from ovnlet.core.settings import Settings
from ovnlet.kube.events import Recorder
from ovnlet.kube.objects import own_node
from ovnlet.kube.session import Access
from unit.test_node_wide_scopes import KEYS, Chassis, Things

pytestmark = pytest.mark.review2


def node(*internal: str, **annotations: str) -> Any:
    addresses = [{"type": "InternalIP", "address": each} for each in internal]
    addresses.append({"type": "Hostname", "address": "n0"})
    text = {f"ovnlet.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    metadata = {"name": "n0", "uid": "u", "annotations": text}
    return own_node({"metadata": metadata, "status": {"addresses": addresses}})


@pytest.mark.parametrize("mode", ["manage", "observe"])
def test_the_node_names_its_chassis_in_every_mode_e2(mode: str) -> None:
    """The controller binds ports by it: a host name need not be the Node's name."""
    settings = Settings.of({"node_name": "n0", "chassis": mode})
    view = ClusterView(settings, cast("Access", None), cast("Recorder", None))
    view.known_as("id-of-n0")
    assert view._chassis_name._wanted == "id-of-n0"


@pytest.mark.parametrize(
    ("setting", "annotation", "declared"),
    [
        (None, None, ()),
        ("192.0.2.9", None, ()),
        ("InternalIP", None, ("192.0.2.1", "2001:db8::1")),
        ("InternalIP", "198.51.100.1", ("198.51.100.1",)),
        (None, " 198.51.100.1 ", ("198.51.100.1",)),
        ("192.0.2.9", "198.51.100.1", ("198.51.100.1",)),
    ],
)
def test_what_declares_the_tunnel_address_of_a_node_e16(
    setting: str | None, annotation: str | None, declared: tuple[str, ...]
) -> None:
    given = {"node_name": "n0", **({"encap_ip": setting} if setting else {})}
    settings = Settings.of(given)
    own = node("2001:db8::1", "192.0.2.1", **({"encap_ip": annotation} if annotation else {}))
    assert declared_tunnel(settings, own.annotations, own.internal) == declared


def chassis(host: Things, *links: str, given: dict[str, str] | None = None) -> Chassis:
    host.addresses = set(links)
    host.put(desired("br-int", {**KEYS, "ovn-encap-ip": "192.0.2.7"}, create=True))
    return Chassis(host, given=given)


async def test_each_node_gets_its_own_tunnel_address_and_it_comes_back_e16() -> None:
    host = Things()
    made = chassis(host, "192.0.2.1", given={"ovn-encap-ip": "192.0.2.8"})
    made.scope.declare(("192.0.2.1",))
    await made.look()
    assert host.present()["ovn-encap-ip"] == "192.0.2.1"
    host.put(desired("br-int", {**KEYS, "ovn-encap-ip": "nonsense"}, create=True))
    assert [step.resource for step in (await made.look()).steps] == [
        ChassisId("ovn-encap-ip", "192.0.2.1")
    ]


async def test_the_first_address_that_is_on_a_link_is_taken_e16() -> None:
    host = Things()
    made = chassis(host, "2001:db8::1")
    made.scope.declare(("192.0.2.1", "2001:db8::1"))
    assert not (await made.look()).notices
    assert host.present()["ovn-encap-ip"] == "2001:db8::1"


@pytest.mark.parametrize("wrong", ["192.0.2.1", "nonsense", "192.0.2.1,192.0.2.2"])
async def test_an_address_on_no_link_changes_nothing_and_is_reported_e16(wrong: str) -> None:
    host = Things()
    made = chassis(host, "192.0.2.7")
    made.scope.declare((wrong,))
    outcome = await made.look()
    assert not outcome.steps
    assert host.present()["ovn-encap-ip"] == "192.0.2.7"
    (notice,) = outcome.notices
    assert (notice.reason, wrong in notice.text) == ("EncapAddressUnusable", True)


async def test_a_declaration_asks_for_a_pass_once_e16() -> None:
    host = Things()
    made = chassis(host, "192.0.2.1")
    await made.look()
    for _ in range(2):
        made.scope.declare(("192.0.2.1",))
    await made.loop.queue.close()
    assert host.present()["ovn-encap-ip"] == "192.0.2.1"
