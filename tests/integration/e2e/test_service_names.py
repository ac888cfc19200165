"""A pod finds Services by name: DNS behind a UDP Service, and a client of the API server."""

from __future__ import annotations

import pytest

from integration.e2e.service_traffic import labelled, service, serving
from integration.e2e.service_web import patch_nat
from testbed import names
from testbed.service import wait_for
from testbed.workloads import Cluster

pytestmark = pytest.mark.review2
# As an in-cluster client does it: the server's name, its CA and the token of the service account.
LIST_PODS = """
import json, ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount"
trust = ssl.create_default_context(cafile=f"{account}/ca.crt")
trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
request = urllib.request.Request(
    "https://kubernetes.default.svc/api/v1/namespaces/default/pods",
    headers={"Authorization": "Bearer " + open(f"{account}/token").read()},
)
with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
    print(*(pod["metadata"]["name"] for pod in json.load(answer)["items"]))
"""
ASK_BY_NAME = """
import socket
with socket.create_connection(("far", 9090), timeout=10) as link:
    print(link.recv(100).decode())
"""
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
RIGHTS = "rbac.authorization.k8s.io"


def rights() -> list[dict[str, object]]:
    """Let the namespace's default account list pods."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    role = {"apiGroup": RIGHTS, "kind": "Role", "name": "lists"}
    meta = {"apiVersion": f"{RIGHTS}/v1", "metadata": {"name": "lists"}}
    return [
        {**meta, "kind": "Role", "rules": RULES},
        {**meta, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]},
    ]


def log_of(cluster: Cluster, name: str) -> str:
    """Wait until a pod has ended, and return what it printed."""
    phase = ("get", "pod", name, "-o", "jsonpath={.status.phase}")
    wait_for(
        lambda: cluster.bed.kubectl(*phase) in ("Succeeded", "Failed"),
        f"the end of {name}",
        timeout=60,
    )
    return cluster.bed.kubectl("logs", name).strip()


def test_a_pod_lists_pods_through_the_services_name_k10(two: Cluster) -> None:
    """K10: a search path, a DNS server at a UDP Service, and two Services by their short names."""
    patch_nat(two, nat=True)
    two.apply(labelled("far", "n1", which="far"), service("far", {"which": "far"}), *rights())
    (far,) = two.running(1)
    names.start(two, "n1")
    lister = names.with_node_files(names.client("lister", "n0", "python3", "-c", LIST_PODS))
    lister["spec"]["automountServiceAccountToken"] = True
    asker = names.with_node_files(names.client("asker", "n0", "python3", "-c", ASK_BY_NAME))
    with serving(far):
        two.apply(lister, asker)
        listed, answer = log_of(two, "lister"), log_of(two, "asker")
    print(f"listed through kubernetes.default.svc: {listed}; far answered by name: {answer}")
    assert {"far", "lister", "names"} <= set(listed.split())
    assert answer.startswith("far ")
    patch_nat(two, nat=False)
