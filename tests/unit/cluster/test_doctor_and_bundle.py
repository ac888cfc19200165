"""`doctor` and `bundle`: findings of many nodes, and archives without secrets or holes."""

import hashlib
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kit.api_server import Answer, ApiServer
from unit.cluster.conftest import Ask

DOCTOR, BUNDLE = ("doctor", "-o", "json"), ("bundle", "-")
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6In.eyJpc3MiOiJwbGFudGVkIiwic3ViIjoic2VjcmV0In0.c2lnbmF0dXJl"
TOP = "ovnlet-cluster"


def _finding(level: str, what: str) -> dict[str, str]:
    return {"level": level, "area": "CNI", "what": what, "fix": f"fix {what}"}


def test_a_fault_is_shown_once_with_its_fix_and_its_nodes(world: ApiServer, ask: Ask) -> None:
    both, one = _finding("fault", "both"), _finding("note", "one")
    well = _finding("ok", "well")
    world.say([both, well], "n0", *DOCTOR, code=3)
    world.say([one, both], "n1", *DOCTOR, code=3)
    done = ask("doctor", "--all")
    assert done.exit_code == 3
    assert done.stdout.splitlines() == [
        "fault\tCNI\tboth\tfix both\tn0 n1",
        "note\tCNI\tone\tfix one\tn1",
    ]
    wide = ask("doctor", "--all", "-o", "wide").stdout
    assert "ok\tCNI\twell\tfix well\tn0" in wide
    only = ask("doctor", "n1", "-o", "jsonpath={.items[*].what}")
    assert (only.exit_code, only.stdout) == (3, "both one")


def test_the_names_of_many_nodes_are_counted(world: ApiServer, ask: Ask) -> None:
    labels, agent = world.the("nodes", "n0")["metadata"]["labels"], world.agent("n0")
    for index in range(8):
        name = f"x{index}"
        meta = {"name": name, "labels": labels}
        world.objects["nodes"].append({"metadata": meta, "status": agent["status"]})
        pod = json.loads(json.dumps(agent))
        pod["metadata"]["name"], pod["spec"]["nodeName"] = f"ovnlet-{name}", name
        world.objects["pods"].append(pod)
        world.say([_finding("note", "same")], name, *DOCTOR)
    (line,) = [line for line in ask("doctor", "--all").stdout.splitlines() if "same" in line]
    assert line.endswith("x0 x1 x2 x3 x4 x5 and 2 more")


def test_notes_alone_are_no_failure_but_a_silent_node_is(world: ApiServer, ask: Ask) -> None:
    for node in ("n0", "n1"):
        world.say([_finding("note", "x")], node, *DOCTOR)
    assert ask("doctor", "--all").exit_code == 0
    world.answers["n1", *DOCTOR] = Answer(end="cut")
    done = ask("doctor", "--all")
    assert (done.exit_code, done.stderr) == (1, "n1: the connection ended before the program\n")


@pytest.mark.parametrize("words", [("doctor",), ("doctor", "n0", "--all"), ("bundle", "x.tar")])
def test_nodes_are_named_or_all(ask: Ask, words: tuple[str, ...]) -> None:
    done = ask(*words)
    assert (done.exit_code, "--all" in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [("doctor", "n0", "n9"), ("bundle", "--node", "n9", "-")])
def test_a_node_without_an_agent_is_named(ask: Ask, words: tuple[str, ...]) -> None:
    done = ask(*words)
    assert (done.exit_code, done.stderr) == (1, "Error: no agent on node n9\n")


def archive(**files: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as opened:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"ovnlet-bundle/{name}")
            entry.size = len(text)
            opened.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


@pytest.fixture
def archives(world: ApiServer) -> dict[str, bytes]:
    """Have each node give an archive, and a log with secrets be there of each controller."""
    given = {node: archive(log=f"of {node}" * 5000) for node in ("n0", "n1")}
    for node, content in given.items():
        world.answers[node, *BUNDLE] = Answer(content)
    for pod in world.objects["pods"]:
        world.logs[pod["metadata"]["name"]] = f"started\n{KEY}\ntoken: {JWT}\nended\n"
    return given


def entries(content: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        for each in opened:
            file = opened.extractfile(each)
            assert file
            assert each.mode == 0o600
            found[each.name.removeprefix(f"{TOP}/")] = file.read()
    return found


def test_an_archive_has_every_node_and_a_manifest_of_what_is_in_it(
    world: ApiServer, ask: Ask, archives: dict[str, bytes]
) -> None:
    done = ask("bundle", "--all", "-")
    assert done.exit_code == 0, done.stderr
    found = entries(done.stdout_bytes)
    assert {name: found[f"nodes/{name}.tar.gz"] for name in archives} == archives
    manifest: dict[str, Any] = json.loads(found.pop("manifest.json"))
    assert manifest["missing"] == []
    assert {one["name"]: (one["bytes"], one["sha256"]) for one in manifest["entries"]} == {
        name: (len(body), hashlib.sha256(body).hexdigest()) for name, body in found.items()
    }
    (log,) = [body.decode() for name, body in found.items() if name.startswith("controllers/")]
    assert (log[:8], log[-6:]) == ("started\n", "ended\n")
    assert "MIIEvQ" not in log
    assert JWT not in log


def test_of_pods_and_nodes_there_is_nothing_that_anybody_wrote(
    world: ApiServer, ask: Ask, archives: dict[str, bytes]
) -> None:
    for plural, name in (("nodes", "n0"), ("pods", world.agent("n0")["metadata"]["name"])):
        world.the(plural, name)["metadata"]["annotations"] = {"note": "psk-of-somebody"}
    container = world.agent("n0")["spec"]["containers"][0]
    container["env"] = [{"name": "PASSWORD", "value": "psk-of-somebody"}]
    found = entries(ask("bundle", "--all", "-").stdout_bytes)
    assert {one["name"] for one in json.loads(found["nodes.json"])} == {"n0", "n1"}
    assert container["image"].encode() in found["pods.json"]
    assert not [name for name, body in found.items() if b"psk-of-somebody" in body]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(archive(log="x" * 9000)[:100]), "its archive is cut off: "),
        (Answer(archive(log="x"), end="cut"), "the connection ended before the program"),
        (Answer(stderr=b"Error: no agent\n", code=1), "no agent"),
        (Answer(end="refused"), "pods/exec is forbidden"),
    ],
)
def test_a_node_without_a_whole_archive_is_missing_and_named(
    world: ApiServer, ask: Ask, archives: dict[str, bytes], answer: Answer, why: str
) -> None:
    world.answers["n1", *BUNDLE] = answer
    done = ask("bundle", "--all", "-")
    found = entries(done.stdout_bytes)
    (missing,) = json.loads(found["manifest.json"])["missing"]
    assert (done.exit_code, missing["node"], why in missing["error"]) == (1, "n1", True), missing
    assert "nodes/n0.tar.gz" in found
    assert "nodes/n1.tar.gz" not in found
    assert f"n1: {missing['error']}\n" in done.stderr


def test_a_file_is_its_owners_alone_and_its_entries_are_told(
    ask: Ask, archives: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "report.tar"
    done = ask("bundle", "--node", "n1", str(file))
    assert (done.exit_code, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    found = entries(file.read_bytes())
    assert done.stdout == f"{file}: {', '.join(found)}\n"
    assert [name for name in found if name.startswith("nodes/")] == ["nodes/n1.tar.gz"]


def test_a_file_that_cannot_be_made_is_an_error(ask: Ask, archives: dict[str, bytes]) -> None:
    done = ask("bundle", "--all", "/proc/none/x.tar")
    assert (done.exit_code, "No such file" in done.stderr) == (1, True)


def test_logs_that_cannot_be_read_leave_their_reason(
    world: ApiServer, ask: Ask, archives: dict[str, bytes]
) -> None:
    world.logs.clear()
    found = entries(ask("bundle", "--all", "-").stdout_bytes)
    (log,) = [body for name, body in found.items() if name.startswith("controllers/")]
    assert log.startswith(b"the API server: ")
