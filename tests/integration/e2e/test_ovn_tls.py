"""OVN's databases answer clients with a certificate of their CA, and no pod."""

import json
import sys
from collections.abc import Iterator

import pytest

from testbed import layout, pki
from testbed.workloads import Cluster, Running, pod

# Sends an echo request of OVSDB's protocol; prints the answer, or why there is none.
ASK = """
import json, socket, ssl, sys
port, how, keys = sys.argv[1:]
link = socket.create_connection(("%s", int(port)), timeout=5)
try:
    if how != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{keys}/ca.crt")
        if how != "no certificate":
            context.load_cert_chain(f"{keys}/{how}.crt", f"{keys}/{how}.key")
        link = context.wrap_socket(link)
    link.sendall(json.dumps({"method": "echo", "params": ["well"], "id": 1}).encode())
    print(link.recv(4096).decode())
except OSError as error:
    print(f"refused: {error}")
""" % (layout.CONTROL_IP)  # noqa: UP031 - braces are the program's own
PODS = "10.16.0.0/16"


def ask(each: Running, port: int, how: str) -> str:
    """Send an echo from a pod: plain, over TLS without a certificate, or with that of ``how``."""
    keys = pki.directory(each.space.directory.parent)
    return each.inside(sys.executable, "-c", ASK, str(port), how, str(keys)).strip()


@pytest.fixture
def reachable(cluster: Cluster) -> Iterator[None]:
    """Add a route from the control space to pods: a refusal must not be just a lost answer."""
    control = cluster.bed.control_plane.space
    control.run(["ip", "route", "add", PODS, "via", cluster.bed.node().ip])
    yield
    control.run(["ip", "route", "del", PODS])


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("port", [layout.NB_PORT, layout.SB_PORT])
def test_a_pod_cannot_speak_to_ovns_databases(cluster: Cluster, port: int) -> None:
    cluster.apply(pod("curious"))
    (curious,) = cluster.running(1)
    # With a chassis' key the same pod is answered.
    assert json.loads(ask(curious, port, "n0"))["result"] == ["well"]
    for how in ("plain", "no certificate"):
        answer = ask(curious, port, how)
        assert answer == "" or answer.startswith("refused:"), answer
