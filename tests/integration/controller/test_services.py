"""Load balancers in a real northbound database: made, kept, repaired and removed."""

import asyncio

import pytest

from integration.controller.admin import (
    MERGE,
    SERVICES,
    SLICE_OF,
    SLICES,
    ClusterAdmin,
    Object,
    until,
)
from integration.controller.replicas import Replicas

pytestmark = pytest.mark.review2
API = "ovnlet/default/kubernetes/tcp"
WEB = "ovnlet/default/web/tcp"


async def make(admin: ClusterAdmin, name: str, **spec: object) -> str:
    """Create a Service and return its address."""
    whole = {"ports": [{"port": 80}], **spec}
    made = await admin.do("POST", SERVICES, json={"metadata": {"name": name}, "spec": whole})
    return str(made["spec"]["clusterIP"])


async def slice_of(admin: ClusterAdmin, service: str, *addresses: str) -> None:
    body = {
        "metadata": {"name": service, "labels": {SLICE_OF: service}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }
    await admin.do("POST", SLICES, json=body)


async def move(admin: ClusterAdmin, service: str, *addresses: str) -> None:
    path, endpoints = f"{SLICES}/{service}", [{"addresses": [address]} for address in addresses]
    await admin.do("PATCH", path, json={"endpoints": endpoints}, headers=MERGE)


async def rows(admin: ClusterAdmin) -> dict[str, Object]:
    """Return the load balancers by name, with their versions."""
    columns = ("_uuid", "_version", "name", "vips", "protocol", "options", "external_ids")
    found = await asyncio.to_thread(admin.bed.northbound_rows, "Load_Balancer", *columns)
    return {row["name"]: row for row in found}


async def vips(admin: ClusterAdmin, name: str = WEB) -> dict[str, str]:
    row = (await rows(admin)).get(name)
    return dict(row["vips"][1]) if row else {}


async def leads(admin: ClusterAdmin, to: str, address: str) -> float:
    """Wait until the Service at this address leads to this endpoint; return the seconds."""

    async def look() -> bool:
        return await vips(admin) == {f"{address}:80": to and f"{to}:8080"}

    return await until(look, 20, f"{address} to lead to {to}")


async def grouped(admin: ClusterAdmin) -> tuple[set[str], set[str]]:
    """Return the load balancers in our group, and the switches that have the group."""
    words = ("--bare", "--columns=load_balancer", "find", "Load_Balancer_Group", "name=ovnlet")
    members = (await admin.nbctl(*words)).split()
    names = {row["name"] for row in (await rows(admin)).values() if row["_uuid"][1] in members}
    words = ("--bare", "--columns=_uuid", "find", "Load_Balancer_Group", "name=ovnlet")
    uuid = (await admin.nbctl(*words)).strip()
    listed = await admin.nbctl(
        "--bare", "--columns=name", "find", "Logical_Switch", f"load_balancer_group={uuid}"
    )
    return names, set(listed.split())


async def ready(admin: ClusterAdmin, replicas: Replicas) -> str:
    """Start a controller, a Subnet and a Service with an endpoint; return its address."""
    replicas.start()
    await admin.subnet("ovn-default", "10.16.0.0/16", default=True)
    await admin.ready("ovn-default")
    address = await make(admin, "web")
    await slice_of(admin, "web", "10.16.0.4")
    await leads(admin, "10.16.0.4", address)
    return address


async def test_a_services_endpoints_are_followed_e1(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """E1: also before there is an endpoint, and the API server's own Service."""
    replicas.start()
    await admin.subnet("ovn-default", "10.16.0.0/16", default=True)
    await admin.ready("ovn-default")
    address = await make(admin, "web")
    await leads(admin, "", address)
    await slice_of(admin, "web", "10.16.0.4")
    print(f"an endpoint in the database after {await leads(admin, '10.16.0.4', address):.2f} s")
    await move(admin, "web", "10.16.0.5")
    await leads(admin, "10.16.0.5", address)
    ((virtual, endpoint),) = (await vips(admin, API)).items()
    assert (virtual, endpoint.rpartition(":")[2]) == ("10.96.0.1:443", str(admin.bed.api_port))
    names, switches = await grouped(admin)
    assert (names, switches) == ({API, WEB}, {"ovn-default"}), "the nodes' own switch has none"
    await admin.do("DELETE", f"{SERVICES}/web")
    await until(lambda: gone(admin), 20, "the load balancer's end")


async def gone(admin: ClusterAdmin) -> bool:
    return WEB not in await rows(admin)


@pytest.mark.parametrize(
    "damage",
    [
        ("destroy", "Load_Balancer", WEB),
        ("clear", "Load_Balancer", WEB, "vips"),
        ("set", "Load_Balancer", WEB, "protocol=udp"),
        ("set", "Load_Balancer", WEB, "options:reject=false", "options:affinity_timeout=5"),
        ("clear", "Load_Balancer_Group", "ovnlet", "load_balancer"),
        ("clear", "Logical_Switch", "ovn-default", "load_balancer_group"),
    ],
    ids=" ".join,
)
async def test_what_others_change_is_as_it_was(
    admin: ClusterAdmin, replicas: Replicas, damage: tuple[str, ...]
) -> None:
    address = await ready(admin, replicas)

    async def state() -> object:
        row = (await rows(admin)).get(WEB, {})
        return {**row, "_uuid": "", "_version": ""}, await grouped(admin)

    before = await state()
    await admin.nbctl(*damage)

    async def repaired() -> bool:
        return await state() == before

    print(f"{' '.join(damage)}: {await until(repaired, 10, 'the repair'):.2f} s")
    assert address in str(before)


async def test_a_subnet_may_do_without(admin: ClusterAdmin, replicas: Replicas) -> None:
    await ready(admin, replicas)
    for wanted in (False, True):
        await admin.edit_subnet("ovn-default", enableLb=wanted)

        async def followed(switches: set[str] = {"ovn-default"} if wanted else set()) -> bool:
            return (await grouped(admin))[1] == switches

        await until(followed, 10, f"enableLb: {wanted}")


async def test_foreign_load_balancers_and_foreign_keys_are_left_alone(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """One of a wanted name stops only its own Service, until it goes."""
    await admin.nbctl("lb-add", WEB, "192.0.2.1:80", "192.0.2.2:80")
    await admin.nbctl("lb-add", "theirs", "192.0.2.1:81", "192.0.2.2:81")
    foreign = await rows(admin)
    replicas.start()
    await admin.subnet("ovn-default", "10.16.0.0/16", default=True)
    await admin.ready("ovn-default")
    await admin.nbctl("ls-lb-add", "ovn-default", "theirs")
    address = await make(admin, "web")
    other = await make(admin, "other")

    async def made() -> bool:
        return await vips(admin, "ovnlet/default/other/tcp") == {f"{other}:80": ""}

    await until(made, 20, "the other Service")
    assert {name: (await rows(admin))[name] for name in foreign} == foreign
    await admin.event("web", "LoadBalancerTaken", "was not made by ovnlet")
    await admin.nbctl("destroy", "Load_Balancer", WEB)
    await leads(admin, "", address)
    await admin.nbctl("set", "Load_Balancer", WEB, "options:skip_snat=true", "external_ids:a=b")
    await slice_of(admin, "web", "10.16.0.4")
    await leads(admin, "10.16.0.4", address)
    row = (await rows(admin))[WEB]
    assert ["skip_snat", "true"] in row["options"][1]
    assert ["a", "b"] in row["external_ids"][1]
    assert "theirs" in await admin.nbctl("ls-lb-list", "ovn-default")


async def test_a_restart_writes_nothing_that_is_right_and_removes_what_is_not_wanted(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    await ready(admin, replicas)
    await make(admin, "goes")
    await until(lambda: there(admin, "goes"), 20, "the other load balancer")
    replicas.kill("a")
    before = await rows(admin)
    await admin.do("DELETE", f"{SERVICES}/goes")
    stays = await make(admin, "new")
    replicas.start()

    async def caught_up() -> bool:
        now = await rows(admin)
        return "ovnlet/default/goes/tcp" not in now and "ovnlet/default/new/tcp" in now

    await until(caught_up, 20, "the changes of the meantime")
    await asyncio.sleep(1)
    after = await rows(admin)
    assert await vips(admin, "ovnlet/default/new/tcp") == {f"{stays}:80": ""}
    assert {name: after[name]["_version"] for name in (API, WEB)} == {
        name: before[name]["_version"] for name in (API, WEB)
    }


async def there(admin: ClusterAdmin, name: str) -> bool:
    return f"ovnlet/default/{name}/tcp" in await rows(admin)


async def test_a_wiped_northbound_is_rebuilt(admin: ClusterAdmin, replicas: Replicas) -> None:
    address = await ready(admin, replicas)
    before = await grouped(admin)
    await admin.wipe()
    await leads(admin, "10.16.0.4", address)

    async def whole() -> bool:
        return await grouped(admin) == before

    await until(whole, 20, "the group")


async def test_what_ovn_cannot_do_is_an_event(admin: ClusterAdmin, replicas: Replicas) -> None:
    """Kubernetes 1.20 drops the other fields: the core's tests have them."""
    replicas.start()
    await admin.subnet("ovn-default", "10.16.0.0/16", default=True)
    await admin.ready("ovn-default")
    affinity = {"clientIP": {"timeoutSeconds": 86400}}
    await make(admin, "web", sessionAffinity="ClientIP", sessionAffinityConfig=affinity)
    await admin.event("web", "SessionAffinityCapped", "65535 s")
    await until(lambda: there(admin, "web"), 20, "the load balancer")
    options = dict((await rows(admin))[WEB]["options"][1])
    assert options == {"reject": "true", "affinity_timeout": "65535"}
