"""Objects that a real API server returned, read by the kinds' own readers.

What is not in them is in the other tests: what no version on record has, such as hints.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from kit import recorded
from ovnlet.core import services
from ovnlet.core.resources.northbound import LoadBalancer
from ovnlet.core.services import Endpoint, NamedPort, ServiceObject
from ovnlet.kube import objects, pods
from ovnlet.kube.service_addresses import service_addresses
from ovnlet.kube.services import endpoint_slice, service

pytestmark = [
    pytest.mark.review2,
    pytest.mark.parametrize("file", recorded.FILES, ids=lambda file: file.stem),
]
HTTP = NamedPort("http", "tcp", 80)
READY = {"ip_address": "10.16.0.4,fd00:10:16::4", "routed": "true"}


def read_service(file: Path, name: str) -> ServiceObject:
    found = service(recorded.recorded("services", name, file))
    assert found is not None
    return found


def endpoints(file: Path, name: str) -> dict[str, Endpoint]:
    found = endpoint_slice(recorded.recorded("endpointslices", name, file))
    assert found is not None
    return {str(each.address): each for each in found.endpoints}


def used(file: Path, name: str, protocol: str = "tcp") -> dict[str, str]:
    """Return the endpoints of a Service by the port's number and family, as OVN gets them."""
    every = recorded.objects(file)["endpointslices"]
    slices = [endpoint_slice(body) for key, body in every.items() if key.split()[0] == name]
    rows = services.balancers(read_service(file, name), list(filter(None, slices)))
    (row,) = (r for r in rows if isinstance(r, LoadBalancer) and r.protocol == protocol)
    return {f"{vip.rpartition(':')[2]} {6 if '[' in vip else 4}": to for vip, to in row.vips}


def test_which_services_have_load_balancers(file: Path) -> None:
    every = recorded.objects(file)["services"]
    without = {name for name, body in every.items() if service(body) is None}
    assert without == {"headless", "external", "meshed"}


def test_the_ports_and_addresses_of_a_service(file: Path) -> None:
    web, single = read_service(file, "web"), read_service(file, "single")
    assert web.owner == ("shop", "web")
    assert set(web.ports) == {HTTP, NamedPort("udp", "udp", 53), NamedPort("sctp", "sctp", 53)}
    assert sorted(each.version for each in web.addresses) == [4, 6]
    assert single.ports == (NamedPort("", "tcp", 80),)
    assert len(single.addresses) == 1


def test_affinity_and_external_traffic(file: Path) -> None:
    affinity = {name: read_service(file, name).affinity for name in ("web", "sticky")}
    assert affinity | {"minute": read_service(file, "sticky-minute").affinity} == {
        "web": 0,
        "sticky": 10_800,
        "minute": 60,
    }
    exposed = read_service(file, "exposed")
    assert exposed.exposed
    assert exposed.external == (ip_address("192.0.2.9"), ip_address("192.0.2.8"))
    assert all(port.node_port for port in exposed.ports)
    assert not read_service(file, "web").exposed


def test_an_ending_pod_is_a_terminating_endpoint_that_serves(file: Path) -> None:
    """The API server's controller decides what it is; a pod on the host is one by its node."""
    assert endpoints(file, "web IPv4") == {
        str(each.address): each
        for each in (
            Endpoint(ip_address("10.16.0.4")),
            Endpoint(ip_address("10.16.0.5"), ready=False, serving=False),
            Endpoint(ip_address("10.16.0.6"), ready=False, serving=True, terminating=True),
            Endpoint(ip_address("172.30.0.10")),
        )
    }
    assert set(endpoints(file, "web IPv6")) == {f"fd00:10:16::{number}" for number in (4, 5, 6)}


def test_which_endpoints_a_service_leads_to(file: Path) -> None:
    both = "10.16.0.4:8080,172.30.0.10:8080"
    assert used(file, "web") == {"80 4": both, "80 6": "[fd00:10:16::4]:8080"}
    assert used(file, "web", "sctp")["53 4"] == both.replace("8080", "53")
    assert used(file, "single") == {"80 4": both}
    assert used(file, "empty") == {"80 4": ""}
    assert used(file, "outside") == {"443 4": "192.0.2.1:8443"}
    unready = used(file, "unready")["80 4"]
    assert {"10.16.0.4:8080", "10.16.0.5:8080"} <= set(unready.split(","))


def test_the_api_servers_own_slice_is_of_its_service(file: Path) -> None:
    found = endpoint_slice(recorded.recorded("endpointslices", "kubernetes IPv4", file))
    assert found is not None
    assert (found.namespace, found.service) == ("default", "kubernetes")
    assert [port.name for port in found.ports] == ["https"]


def test_what_the_controller_keeps_of_pods(file: Path) -> None:
    every = recorded.objects(file)["pods"]
    found = {name: objects.workload(body) for name, body in every.items()}
    assert found.pop("on-the-host") is None
    nodes = {name: pod.node for name, pod in found.items() if pod is not None}
    assert nodes == dict.fromkeys(found, "n0") | {"waiting": "", "db-0": ""}
    assert {name for name, pod in found.items() if pod and pod.finished} == {"finished"}
    assert {name: pod.workload for name, pod in found.items() if pod and pod.workload} == {
        "db-0": "db"
    }
    ready = found["ready"]
    assert ready is not None
    assert ready.annotations == {f"ovn.kubernetes.io/{key}": value for key, value in READY.items()}


def test_what_the_agent_keeps_of_pods(file: Path) -> None:
    every = recorded.objects(file)["pods"]
    found = {name: pods.read(body) for name, body in every.items()}
    assert found.pop("on-the-host") is None
    assert {name for name, pod in found.items() if pod and pod.deleting} == {"leaving"}
    ready = found["ready"]
    assert ready is not None
    assert ready.object_uid == ready.uid == every["ready"]["metadata"]["uid"]


def test_what_a_node_keeps_of_services(file: Path) -> None:
    every = recorded.objects(file)["services"]
    found = {name: service_addresses(body) for name, body in every.items()}
    assert {name for name, each in found.items() if each is None} == {"headless", "external"}
    web, exposed = found["web"], found["exposed"]
    assert web is not None
    assert exposed is not None
    assert [":" in each for each in web.addresses] == [False, True]
    (port,) = every["exposed"]["spec"]["ports"]
    assert exposed.local_ports == (f"TCP/{port['nodePort']}",)
    assert not web.local_ports


def test_nodes_and_stateful_sets(file: Path) -> None:
    node: Any = objects.node(recorded.recorded("nodes", "n0", file))
    assert (node.name, node.internal) == ("n0", ("172.30.0.10",))
    db = objects.stateful_set(recorded.recorded("statefulsets", "db", file))
    assert (db.namespace, db.name, db.first, db.replicas) == ("shop", "db", 0, 1)
