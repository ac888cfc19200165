"""What may be in an archive for a bug report: only what is named, whatever it looks like (E15)."""

import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from ovnlet.cli.bundle import allowed, collect, without_secrets
from ovnlet.core.settings import Settings

pytestmark = pytest.mark.review2

KEY = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFRw=="
PLANTED = (KEY, "hunter2-of-another-plugin", "psk-of-a-tunnel")
KUBECONFIG = f"""
users:
- name: calico
  user: {{client-certificate-data: {KEY}, client-key-data: {KEY}}}
"""
KEPT = ("chassis.json", "encap.json", "gateway.json", "node.json")
OURS = {"cniVersion": "1.0.0", "name": "ovnlet", "plugins": [{"type": "ovnlet"}]}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    conf, run = tmp_path / "net.d", tmp_path / "run"
    conf.mkdir()
    (run / "sandboxes").mkdir(parents=True)
    (conf / "01-ovnlet.conflist").write_text(json.dumps(OURS))
    (conf / "calico-kubeconfig").write_text(KUBECONFIG)
    (conf / "10-other.conflist").write_text(json.dumps({"key": PLANTED[1]}))
    (run / "sandboxes" / "c0ffee.eth0.json").write_text('{"boot_id": "b"}')
    (run / "sandboxes" / "core.1234").write_text(KEY)
    for name in KEPT:
        (run / name).write_text("{}")
    (run / "kubeconfig").write_text(KUBECONFIG)
    given = {"run_dir": run, "cni_conf_dir": conf, "cni_socket": run / "cni.sock"}
    places = {name: str(path) for name, path in given.items()}
    return Settings.of(
        {"node_name": "n", "api_server": "https://127.0.0.1:1", "ovsdb": str(run / "db"), **places}
    )


async def test_e15_a_bundle_has_nothing_of_others(settings: Settings) -> None:
    content, _ = await collect(settings)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {each.name: archive.extractfile(each) for each in archive}
        texts = {
            name.removeprefix("ovnlet-bundle/"): file.read().decode()
            for name, file in files.items()
            if file
        }
    whole = "\n".join(texts.values())
    assert [each for each in PLANTED if each in whole] == []
    assert json.loads(texts["net.d/01-ovnlet.conflist"]) == OURS
    assert {"run/chassis.json", "sandboxes/c0ffee.eth0.json"} <= texts.keys()
    # Their names are needed: one that sorts first is the node's network.
    listed = json.loads(texts["net.d.json"])
    assert [each["name"] for each in listed] == [
        "01-ovnlet.conflist",
        "10-other.conflist",
        "calico-kubeconfig",
    ]
    assert set(texts) == {
        "versions.json",
        "settings.json",
        "doctor.json",
        "attachments.json",
        "plan.json",
        "log.json",
        "ovsdb.json",
        "net.d.json",
        "net.d/01-ovnlet.conflist",
        *(f"run/{name}" for name in KEPT),
        "sandboxes/c0ffee.eth0.json",
    }


def test_e15_of_ovsdb_only_our_rows_and_ovns_keys() -> None:
    ids = [["ovn-remote", "ssl:192.0.2.1:6642"], ["hostname", "n"], ["agent-password", PLANTED[1]]]
    tunnel = {
        "name": "ovn-1",
        "options": ["map", [["psk", PLANTED[2]]]],
        "external_ids": ["map", []],
    }
    port = {
        "name": "c0ffee_h",
        "external_ids": ["map", [["ovnlet", "c0ffee/eth0"], ["iface-id", "a.b"]]],
        "ofport": 4,
        "other_config": ["map", [["secret", PLANTED[1]]]],
    }
    rows: dict[str, list[dict[str, Any]]] = {
        "Open_vSwitch": [{"external_ids": ["map", ids], "ovs_version": "3.5.0", "ssl": KEY}],
        "Bridge": [
            {"name": "br-int", "fail_mode": "secure", "external_ids": ["map", []]},
            {"name": "br-other", "external_ids": ["map", [["token", PLANTED[1]]]]},
        ],
        "Interface": [tunnel, port],
    }
    text = json.dumps(allowed(rows, "br-int"))
    assert [each for each in PLANTED if each in text] == []
    for wanted in ("ssl:192.0.2.1:6642", "3.5.0", "secure", "c0ffee/eth0", '"ofport": 4'):
        assert wanted in text
    assert "br-other" not in text


@pytest.mark.parametrize(
    "text",
    [
        f"client-key-data: {KEY}",
        f'"client-key-data":"{KEY}"',
        f"client-certificate-data: {KEY}",
        json.dumps(f"-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n{KEY}\n"),
        # JSON as a string in JSON: an annotation in what an agent reports.
        json.dumps({"value": json.dumps({"password": KEY})}),
        json.dumps(json.dumps({"value": json.dumps({"client-key-data": KEY})})),
        f"api_key={KEY}",
        f"Authorization: Basic {KEY}",
        f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n-----END EC PRIVATE KEY-----",
    ],
)
def test_e15_what_looks_like_a_key_is_left_out_of_any_text(text: str) -> None:
    assert KEY not in without_secrets(f"an error: {text} (see above)")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_is_left_out_leaves_json_whole(depth: int) -> None:
    value: object = {"a": 1, "password": "correct horse battery", "token": None, "z": ["end"]}
    for _ in range(depth):
        value = {"text": json.dumps(value)}
    kept = without_secrets(json.dumps(value))
    for _ in range(depth):
        kept = json.loads(kept)["text"]
    found = json.loads(kept)
    assert found == {"a": 1, "password": "(left out)", "token": None, "z": ["end"]}


def test_a_line_that_is_cut_off_keeps_no_part_of_a_password() -> None:
    assert "horse" not in without_secrets('password: "correct horse')


def test_the_time_grows_with_the_length_of_the_text() -> None:
    """A pod's annotations, 256 KiB, are anybody's."""
    began = time.process_time()
    without_secrets("-----BEGIN PRIVATE KEY-----" * 10_000)
    assert time.process_time() - began < 5, "each first line looks at the rest of the text"
