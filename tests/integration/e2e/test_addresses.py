"""Addresses on a whole node: a tenant's forgery, two pods with one address, and a full subnet."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from integration.e2e.forging import COUNT, Sender, arrived, own_addresses
from testbed.service import wait_for
from testbed.workloads import OVN, Cluster, pod, subnet

FORGED_IP, FORGED_IP6, FORGED_MAC = "10.16.99.99", "fd00:10:16::9999", "0a:00:00:00:99:99"
SOON = 2.0


def annotations_of(cluster: Cluster, name: str) -> dict[str, str]:
    """Return a pod's annotations of our domain."""
    body = json.loads(cluster.bed.kubectl("get", "pod", name, "-o", "json"))
    return {
        key: value for key, value in body["metadata"]["annotations"].items() if key.startswith(OVN)
    }


def event(cluster: Cluster, name: str, reason: str, *words: str) -> str:
    """Return the message of the first Event with this reason whose text has all these words."""

    def look() -> list[str]:
        events = [each["message"] for each in cluster.events(name) if each["reason"] == reason]
        return [message for message in events if all(word in message for word in words)]

    return wait_for(look, f"an Event {reason} of {name}", timeout=15, every=0.1)[0]


def test_a_tenants_edit_moves_nothing_and_lets_nothing_forged_pass(cluster: Cluster) -> None:
    cluster.apply(pod("tenant"), pod("other"))
    other, tenant = cluster.running(2)
    before = annotations_of(cluster, "tenant")
    pings = [tenant.ping(address) for address in other.ips]
    cluster.annotate("tenant", ip_address=f"{FORGED_IP},{FORGED_IP6}", mac_address=FORGED_MAC)
    assert FORGED_IP in event(cluster, "tenant", "AnnotationRestored", FORGED_MAC)
    wait_for(
        lambda: annotations_of(cluster, "tenant") == before,
        "the annotations as they were",
        timeout=10,
    )
    time.sleep(0.5)  # a late effect on traffic counts too
    counts = [ping.stop() for ping in pings]
    print(f"a 20 ms ping over the edit: {counts}")
    assert all(sent == received > 10 for sent, received in counts), counts
    honest = own_addresses(tenant)
    forged = [
        Sender(tenant.mac, FORGED_IP),
        Sender(FORGED_MAC, tenant.ips[0]),
        Sender(FORGED_MAC, FORGED_IP),
        Sender(tenant.mac, FORGED_IP6),
        Sender(FORGED_MAC, tenant.ips[1]),
    ]
    got = arrived(tenant, other, [*honest, *forged])
    assert [got[sender] for sender in honest] == [COUNT, COUNT], got
    assert [got[sender] for sender in forged] == [0] * len(forged), got


def test_a_pod_with_a_taken_address_gets_an_event_that_names_the_holder(cluster: Cluster) -> None:
    address = {f"{OVN}/ip_address": "10.16.77.7"}
    cluster.apply(pod("holder", **address))
    cluster.running(1)
    cluster.apply(pod("second", **address))
    message = event(cluster, "second", "AddressTaken", "10.16.77.7", "holder.default")
    print(message)
    assert f"{OVN}/allocated" not in annotations_of(cluster, "second")
    (holder,) = [each for each in cluster.pods() if each["metadata"]["name"] == "holder"]
    assert holder["status"]["phase"] == "Running"


def test_a_full_subnet_gets_an_event_and_a_pod_starts_once_an_address_is_free(
    cluster: Cluster,
) -> None:
    with _tiny(cluster) as names:
        late = pod("late", **{f"{OVN}/logical_switch": "tiny"})
        cluster.apply(late)
        event(cluster, "late", "SubnetFull", "tiny", "IPv4")
        assert f"{OVN}/allocated" not in annotations_of(cluster, "late")
        cluster.bed.kubectl("delete", "pod", names[0], "--force", "--grace-period=0")
        wait_for(
            lambda: not _port(cluster, names[0]), "the end of its cool-down", timeout=30, every=0.01
        )
        free = time.monotonic()
        wait_for(lambda: _phase(cluster, "late") == "Running", "the pod that waited", timeout=30)
        seconds = time.monotonic() - free
        print(f"running {seconds:.2f} s after an address was free")
        assert seconds < SOON
        cluster.clear()


@contextmanager
def _tiny(cluster: Cluster) -> Iterator[list[str]]:
    """Give a subnet of five addresses and the names of the pods that have them."""
    cluster.make_subnet(subnet("tiny", "10.21.0.0/29,fd00:10:21::/64"))
    names = [f"filler-{number}" for number in range(5)]
    cluster.apply(*(pod(name, **{f"{OVN}/logical_switch": "tiny"}) for name in names))
    cluster.running(len(names))
    yield names
    cluster.bed.kubectl("delete", "subnet", "tiny", "--timeout=30s")


def _port(cluster: Cluster, name: str) -> str:
    return cluster.bed.nbctl(
        "--bare", "--columns=_uuid", "find", "Logical_Switch_Port", f"name={name}.default"
    ).strip()


def _phase(cluster: Cluster, name: str) -> Any:
    return cluster.bed.api.get(f"/api/v1/namespaces/default/pods/{name}")["status"].get("phase")
