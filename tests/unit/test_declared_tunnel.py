"""The tunnel address of each node: declared by its Node, checked, and back whoever changes it."""

from typing import Any, cast

import pytest

from ovnlet.agent.node import ClusterView
from ovnlet.core.encap import declared
from ovnlet.core.resources import ChassisId
from ovnlet.core.settings import Repair, Settings
from ovnlet.kube.events import Recorder
from ovnlet.kube.objects import own_node
from ovnlet.kube.session import Access
from unit.test_encap import Database, Kept

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
    settings = Settings.model_validate({"node_name": "n0", "chassis": mode})
    view = ClusterView(settings, cast("Access", None), cast("Recorder", None))
    view.known_as("id-of-n0")
    assert view._chassis_name._wanted == "id-of-n0"


@pytest.mark.parametrize(
    ("setting", "annotation", "addresses"),
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
    setting: str | None, annotation: str | None, addresses: tuple[str, ...]
) -> None:
    given = {"node_name": "n0", **({"encap_ip": setting} if setting else {})}
    settings = Settings.model_validate(given)
    own = node("2001:db8::1", "192.0.2.1", **({"encap_ip": annotation} if annotation else {}))
    assert declared(settings, own.annotations, own.internal) == addresses


SEEN: dict[str, str] = {"ovn-encap-ip": "192.0.2.7"}


def tunnels(
    *links: str, given: str = "", seen: dict[str, str] = SEEN, repair: Repair = "fix"
) -> Kept:
    """Return a node whose tunnels OVSDB decides, with these addresses."""
    database = Database(dict(seen), {"eth0": links})
    return Kept(database, given=given, follows_node=False, repair=repair)


async def test_each_node_gets_its_own_tunnel_address_and_it_comes_back_e16() -> None:
    made = tunnels("192.0.2.1", given="192.0.2.8")
    made.scope.put("", "", (), ("192.0.2.1",))
    await made.look()
    assert made.database.ids == {"ovn-encap-ip": "192.0.2.1"}
    made.database.ids["ovn-encap-ip"] = "nonsense"
    assert [step.resource for step in (await made.outcome()).steps] == [
        ChassisId("ovn-encap-ip", "192.0.2.1")
    ]


async def test_the_first_address_that_is_on_a_link_is_taken_e16() -> None:
    made = tunnels("2001:db8::1")
    made.scope.put("", "", (), ("192.0.2.1", "2001:db8::1"))
    assert not (await made.outcome()).notices
    assert made.database.ids["ovn-encap-ip"] == "2001:db8::1"


@pytest.mark.parametrize("wrong", ["192.0.2.1", "nonsense", "192.0.2.1,192.0.2.2"])
async def test_an_address_on_no_link_changes_nothing_and_is_reported_e16(wrong: str) -> None:
    made = tunnels("192.0.2.7")
    made.scope.put("", "", (), (wrong,))
    outcome = await made.outcome()
    assert not outcome.steps
    assert made.database.ids == SEEN
    (notice,) = outcome.notices
    assert (notice.reason, wrong in notice.text) == ("EncapAddressUnusable", True)


async def test_a_declaration_asks_for_a_pass_once_e16() -> None:
    made = tunnels("192.0.2.1")
    await made.look()
    for _ in range(2):
        made.scope.put("", "", (), ("192.0.2.1",))
    await made.loop.queue.close()
    assert made.database.ids["ovn-encap-ip"] == "192.0.2.1"


async def test_a_value_of_ovsdb_is_kept_whatever_it_is_and_comes_back_after_a_wipe() -> None:
    """An address behind a translation is on no link."""
    made = tunnels("192.0.2.7", seen={"ovn-encap-ip": "198.51.100.7,198.51.100.8"})
    assert not (await made.outcome()).steps
    made.database.ids = {"ovn-encap-ip": "198.51.100.9"}
    assert not (await made.outcome()).steps, "another program wrote it"
    made.database.ids.clear()
    await made.look()
    assert made.database.ids == {"ovn-encap-ip": "198.51.100.9"}


async def test_what_is_not_ours_is_only_reported_and_nothing_is_invented() -> None:
    made = tunnels("192.0.2.1", given="192.0.2.1", repair="report")
    outcome = await made.outcome()
    assert outcome.remaining
    assert made.database.ids == SEEN
    assert not (await tunnels("192.0.2.1", seen={}).outcome()).desired
