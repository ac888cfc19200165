"""`bundle` of two nodes with planted secrets, and what a node whose kubelet hangs costs."""

import io
import json
import signal
import tarfile

from proofs.tools.operator import Operator
from proofs.tools.report import Report
from testbed.service import wait_for
from testbed.workloads import OVN, Running

# Made up, by what each is shaped like.
SECRETS = {
    "a token": "eyJhbGciOiJSUzI1NiIsImtpZCI6In.eyJpc3MiOiJwbGFudGVkIn0.c2lnbmF0dXJl",
    "a key": "MHcCAQEEIPlantedPlantedPlanted",
    "a password": "correct horse battery",
    "a user's key": "LS0tLS1CRUdJTiBQbGFudGVk",
}
# How each looks in the file or the annotation of somebody else.
PLANTED = (
    f"token: {SECRETS['a token']}",
    f"-----BEGIN EC PRIVATE KEY-----\n{SECRETS['a key']}\n-----END EC PRIVATE KEY-----",
    json.dumps({"password": SECRETS["a password"]}),
    "client-key-data: " + SECRETS["a user's key"],
)


def collected(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Search the archive of all nodes for what was planted, and stop one agent's answers."""
    bed, token = ask.bed, SECRETS["a token"]
    for pod, text in zip(pods, PLANTED, strict=False):
        bed.kubectl("annotate", "pod", pod.name, f"{OVN}/ingress_rate={text}")
    for node in bed.nodes:
        node.path("/etc/cni/net.d/90-other.conf").write_text("\n".join(PLANTED))
        node.run(["ovs-vsctl", "set", "Open_vSwitch", ".", f"external_ids:other={token}"])
    try:
        with report.row("bundle --all, with planted secrets") as row:
            wait_for(lambda: _is_answered(ask), "the control: agents repeat it", timeout=30)
            ended = row.took(ask("bundle", "--all", "-"))
            assert ended.code == 0, ended.stderr
            entries = _entries(ended.stdout)
            for secret in SECRETS.values():
                assert not [name for name, body in entries.items() if secret.encode() in body]
            whole = b"".join(entries.values())
            assert b"ingress_rate" in whole, "the annotation is looked at"
            assert b"90-other.conf" in whole, "the file is looked at"
            manifest = json.loads(entries["ovnlet-cluster/manifest.json"])
            assert manifest["missing"] == []
            row.record(f"{len(ended.stdout)} bytes, {len(entries)} files")
    finally:
        for pod, _ in zip(pods, PLANTED, strict=False):
            bed.kubectl("annotate", "pod", pod.name, f"{OVN}/ingress_rate-")
        for node in bed.nodes:
            node.sh("rm /etc/cni/net.d/90-other.conf")
            node.run(["ovs-vsctl", "remove", "Open_vSwitch", ".", "external_ids", "other"])


def _is_answered(ask: Operator) -> bool:
    """Return whether what an agent answers has all that was planted."""
    text = ask("pods", "-A", "-o", "json").text
    return all(secret in text for secret in SECRETS.values())


def _entries(archive: bytes, below: str = "") -> dict[str, bytes]:
    """Return every file of an archive, and of the archives in it."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for each in opened:
            file = opened.extractfile(each)
            body = file.read() if file else b""
            if each.name.endswith(".tar.gz"):
                found |= _entries(body, f"{each.name}/")
            else:
                found[below + each.name] = body
    return found


def hung(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Freeze kubelet of a node: the others answer, the node is named, and nothing waits long."""
    kubelet = ask.bed.node(1).service("kubelet")
    kubelet.send(signal.SIGSTOP)
    try:
        with report.row("status, kubelet of n1 is frozen") as row:
            ended = row.took(ask("status"))
            assert ended.code == 3, ended
            assert "n1\tnot ready\t" in ended.text, ended
            assert "n0\tnot ready" not in ended.text, ended
            assert ended.seconds < 30
            row.record(*ended.text.splitlines())
        with report.row("bundle --all, kubelet of n1 is frozen") as row:
            ended = row.took(ask("bundle", "--all", "-"))
            assert ended.code == 1, ended
            entries = _entries(ended.stdout)
            manifest = json.loads(entries["ovnlet-cluster/manifest.json"])
            assert [one["node"] for one in manifest["missing"]] == ["n1"], manifest
            assert any("/n0.tar.gz/" in name for name in entries)
            row.record(json.dumps(manifest["missing"]))
    finally:
        kubelet.send(signal.SIGCONT)
