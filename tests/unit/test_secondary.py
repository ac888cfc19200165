"""With `pod_network: secondary`, where another plugin makes each pod's first interface."""

import json
from pathlib import Path
from typing import Any

import pytest

from kit.cluster import Cluster, Term, until
from kit.memory import World, pod
from ovnlet.agent.cni_service import CniService
from ovnlet.agent.first_network import FirstNetwork
from ovnlet.core.annotations import FIRST, key
from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.ipam.networks import DEFAULT_NETWORK, NETWORKS
from ovnlet.core.resources import CniFile
from ovnlet.core.settings import PodNetwork, Settings
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.reconcile.loop import Loop
from ovnlet_cni import installer
from ovnlet_cni.errors import CniError, Code
from ovnlet_cni.request import Attach

N1 = "n1.default.ovn"


class Nothing:
    """Stands for parts that these tests do not reach."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.mark.parametrize(
    ("mode", "scopes"), [("primary", {"node", "gateway"}), ("secondary", set())]
)
def test_there_is_neither_ovn0_nor_a_gateway(
    tmp_path: Path, mode: PodNetwork, scopes: set[str]
) -> None:
    (tmp_path / "node.json").write_text(json.dumps({key(FIRST, "ip_address"): "100.64.0.2"}))
    settings = Settings(node_name="n0", run_dir=str(tmp_path), pod_network=mode)
    nothing: Any = Nothing()
    first = FirstNetwork(
        settings,
        Loop(),
        owners=nothing,
        watch=nothing,
        ovs=nothing,
        state=nothing,
        records=nothing,
        cluster=nothing,
        clock=nothing,
        status=lambda _: nothing,
    )
    assert set(first.scopes) == scopes
    if mode == "secondary":
        first.annotated({key(FIRST, "ip_address"): "100.64.0.3"}, ())
        first.cluster({})
        assert list(first.counts()) == []
        assert first.restores == []


@pytest.mark.parametrize("primary", [True, False])
async def test_our_configuration_is_not_written_and_one_from_before_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: bool
) -> None:
    plugin, conf_dir = tmp_path / "ovnlet", tmp_path / "net.d"
    conf_dir.mkdir()
    text = json.dumps({"name": "ovnlet", "plugins": [{"type": "ovnlet"}]})

    async def composed(*_: object) -> str:
        return text

    monkeypatch.setattr(installer, "conflist", composed)
    plugin.write_text("")
    (conf_dir / installer.CONFLIST).write_text(text)
    (conf_dir / "00-other.conflist").write_text("{}")
    own = CniDirectories("", str(conf_dir))
    files = CniFiles(own, plugin, tmp_path / "cni.sock", primary=primary)
    await files.prepare()
    found = await files.observe(own, files.wanted)
    assert [each.name for each in found if isinstance(each, CniFile)] == [installer.CONFLIST]
    assert bool(files.wanted) is primary, "what is found and not wanted is removed"
    assert files.overriding() == (["00-other.conflist"] if primary else [])


def request(provider: str) -> Attach:
    return Attach(
        version="1.0.0",
        container_id="c1",
        ifname="eth0",
        netns="/run/netns/c1",
        namespace="default",
        pod="web",
        provider=provider,
        config={"type": "ovnlet"},
    )


@pytest.mark.looptime
async def test_an_add_without_a_provider_is_refused_in_words() -> None:
    world = World()
    world.tell(pod({}))
    service = CniService(world.attaching, world.records, lambda: None, primary=False)
    with pytest.raises(CniError, match="pod_network: secondary") as caught:
        await service.add(request("ovn"))
    assert caught.value.code == Code.INVALID_CONFIG
    assert world.nothing_left()


def listing(cluster: Cluster, name: str, **annotations: str) -> None:
    """Create a pod with these annotations; `networks` and `default_network` by their names."""
    full = {"networks": NETWORKS, "default_network": DEFAULT_NETWORK}
    notes = {full.get(short, short): text for short, text in annotations.items()}
    cluster.put("pods", name, "default", metadata={"annotations": notes}, spec={"nodeName": "n0"})


def allocated(cluster: Cluster, name: str) -> set[str]:
    """Return the providers of which a pod has an allocation."""
    every = cluster.objects["pods", "default", name]["metadata"].get("annotations", {})
    end = ".kubernetes.io/routed"
    return {each.removesuffix(end) for each in every if each.endswith(end)}


@pytest.mark.looptime
@pytest.mark.parametrize("mode", ["primary", "secondary"])
async def test_the_controller_allocates_further_networks_alone(mode: str) -> None:
    cluster = Cluster()
    cluster.put("nodes", "n0")
    cluster.subnet("ovn-default", "10.16.0.0/16", default=True)
    cluster.subnet("second", "10.17.0.0/24", provider=N1)
    config = json.dumps({"type": "ovnlet", "provider": N1})
    cluster.put("network-attachment-definitions", "n1", "default", spec={"config": config})
    async with Term(cluster, pod_network=mode, cool_down=0):
        listing(cluster, "plain")
        listing(cluster, "web", networks="n1")
        listing(cluster, "first", default_network="n1")
        await until(lambda: N1 in allocated(cluster, "web") & allocated(cluster, "first"))
        own = {"ovn"} if mode == "primary" else set()
        await until(lambda: allocated(cluster, "plain") == own)
        assert allocated(cluster, "web") == {N1} | own
        assert allocated(cluster, "first") == {N1}, "in the place of the pod's own network"
        names = {each.name for each in cluster.database.strict.every_port()}
        assert ("web.default" in names) is (mode == "primary")
        assert ("node-n0" in names) is (mode == "primary")
        assert cluster.events == []
