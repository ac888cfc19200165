"""A kind whose CRD comes after the agent, is deleted and comes back.

Its objects enter the store, and leave it.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration.apiserver.agent import IN_FORCE, AgentUnderTest, running, until
from integration.apiserver.conftest import Api
from integration.apiserver.proxy import ApiProxy
from ovnlet.kube.kopf_runner import KIND_CHECK_INTERVAL
from ovnlet.kube.relist import ABSENT_FIRST
from testbed.bed import Bed
from testbed.service import wait_for

CRD = Path(__file__).resolve().parents[3] / "manifests" / "standalone" / "subnet.yaml"
PATH = "/apis/kubeovn.io/v1/subnets"
# Our own LIST finds the kind, at the third try at the latest, two checks miss it, kopf restarts for
# it, and discovery may lag behind once.
FOUND = 3 * ABSENT_FIRST + 4 * KIND_CHECK_INTERVAL + IN_FORCE


class Kind:
    """The Subnet CRD and its objects, changed by an administrator with kubectl."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    def install(self) -> None:
        self._bed.kubectl("apply", f"--filename={CRD}")
        conditions = (
            "get",
            "crd",
            "subnets.kubeovn.io",
            "--output=jsonpath={.status.conditions[*].type}",
        )
        wait_for(lambda: "Established" in self._bed.kubectl(*conditions), "the kind")

    def remove(self) -> None:
        self._bed.kubectl("delete", "crd", "subnets.kubeovn.io", "--ignore-not-found")

    def put(self, name: str, **spec: Any) -> None:
        body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}}
        cidr = {"cidrBlock": "10.16.0.0/16"}
        self._bed.kubectl(
            "apply", "--filename=-", stdin=json.dumps({**body, "spec": {**cidr, **spec}})
        )

    def delete(self, name: str) -> None:
        self._bed.kubectl("delete", "subnet", name)


@pytest.fixture
def kind(bed: Bed) -> Iterator[Kind]:
    kind = Kind(bed)
    kind.remove()
    yield kind
    kind.remove()


def mtu(agent: AgentUnderTest, name: str) -> Any:
    subnet = agent.subnets.store.get(("", name))
    return subnet.spec.get("mtu") if subnet else None


def watched(proxy: ApiProxy) -> bool:
    return any(PATH in line and "watch=true" in line for line in proxy.requests)


async def test_a_kind_that_comes_later_goes_and_comes_back(
    account: Path, proxy: ApiProxy, api: Api, kind: Kind
) -> None:
    await api.create("beside")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("beside"), 15, "the pod")
        assert not agent.subnets.store.complete.is_set()
        for number in (1, 2):
            proxy.requests.clear()
            kind.install()
            kind.put("late", mtu=1300 + number)
            seconds = await until(partial(has_mtu, agent, 1300 + number), FOUND, "the Subnet")
            again = await until(lambda: watched(proxy), FOUND, "its watch")
            print(
                f"a Subnet of a kind made after the agent: known {seconds:.1f} s,"
                f" watched {again:.1f} s later"
            )
            kind.put("late", mtu=1400 + number)
            await until(partial(has_mtu, agent, 1400 + number), 10, "an edit, by the watch")
            kind.remove()
            await api.note("beside", str(number))
            await until(
                partial(has_note, agent, str(number)),
                IN_FORCE,
                "an edit of a pod",
            )
            await until(
                lambda: not agent.subnets.there or mtu(agent, "late") is None,
                IN_FORCE,
                "the end of the kind",
            )


async def test_an_object_deleted_while_the_watch_was_cut_and_its_history_lost_is_gone(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api, kind: Kind
) -> None:
    kind.install()
    kind.put("stays", mtu=1300)
    kind.put("leaves", cidrBlock="10.17.0.0/16", mtu=1300)
    async with running(account, proxy.url) as agent:
        await until(lambda: mtu(agent, "stays") and mtu(agent, "leaves"), FOUND, "the Subnets")
        await until(lambda: watched(proxy), FOUND, "the watch")
        await proxy.close()
        kind.delete("leaves")
        kind.put("stays", mtu=1350)
        bed.control_plane.space.restart("kube-apiserver").wait_ready(
            lambda: bed.control_plane.answers(bed.api_url)
        )
        assert mtu(agent, "leaves")
        await proxy.open()
        seconds = await until(lambda: mtu(agent, "leaves") is None, FOUND, "the deletion")
        await until(lambda: mtu(agent, "stays") == 1350, FOUND, "the edit")
        print(
            "a Subnet deleted during the outage:"
            f" gone {seconds:.1f} s after the API server was back"
        )


def has_mtu(agent: AgentUnderTest, value: int) -> bool:
    return bool(mtu(agent, "late") == value)


def has_note(agent: AgentUnderTest, text: str) -> bool:
    return agent.note("beside") == text
