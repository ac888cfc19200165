"""The commands for people against a real agent: their output, its formats, the exit codes."""

import asyncio
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from integration.cni.agent.cli import TERMINAL, ovnlet
from integration.cni.agent.node import AgentNode, until

# Made up for this test, and shaped like the token of a service account.
PLANTED = "eyJhbGciOiJSUzI1NiIsImtpZCI6In.eyJpc3MiOiJwbGFudGVkIiwic3ViIjoic2VjcmV0In0.c2lnbmF0dXJl"
PLANTED_KEY = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5QWdFRw"


async def test_all_output_formats_show_the_same(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    await node.add(sandbox)
    table, as_json, as_yaml = [
        (await ovnlet(node, "pods", "-o", form)).stdout for form in ("table", "json", "yaml")
    ]
    (shown,) = json.loads(as_json)
    assert yaml.safe_load(as_yaml) == [shown]
    assert (shown["pod"], shown["state"]) == (sandbox.pod.name, "attached")
    assert table.decode().split("\t")[:3] == ["default", sandbox.pod.name, "eth0"], (
        "a pipe gets colours or frames"
    )
    details = await ovnlet(node, "show", f"default/{sandbox.pod.name}", "-o", "yaml")
    (resources,) = [each["resources"] for each in yaml.safe_load(details.stdout)]
    assert all(resource["desired"] == resource["observed"] for resource in resources)


async def test_plan_shows_and_apply_executes_the_steps(bare: AgentNode) -> None:
    node = bare
    node.start("--repair=report")
    sandbox = await node.sandbox()
    await node.add(sandbox)
    pod = f"default/{sandbox.pod.name}"
    assert (await ovnlet(node, "plan", pod)).exit_code == 0
    await node.inside(sandbox, "ip", "route", "del", "default")
    planned = await ovnlet(node, "plan", pod)
    assert (planned.exit_code, b"+ Route" in planned.stdout) == (2, True), planned
    applied = await ovnlet(node, "apply", pod)
    assert (applied.exit_code, applied.stdout) == (0, planned.stdout)
    assert (await ovnlet(node, "plan", pod)).exit_code == 0
    assert "default" in await node.inside(sandbox, "ip", "route")


@pytest.mark.parametrize(
    "command", [("show", "default/nobody"), ("plan", "default/nobody"), ("apply", "default/nobody")]
)
async def test_a_pod_that_is_not_there_is_an_error(
    node: AgentNode, command: tuple[str, str]
) -> None:
    outcome = await ovnlet(node, *command)
    assert (outcome.exit_code, outcome.stderr) == (1, b"Error: no such pod on this node\n")


async def test_without_an_agent_commands_report_it(bare: AgentNode) -> None:
    for command in (("pods",), ("plan",), ("events",)):
        outcome = await ovnlet(bare, *command)
        assert outcome.exit_code == 1
        assert b"no agent answers on /run/ovnlet/cni.sock" in outcome.stderr


async def test_events_are_followed_and_do_not_hold_up_the_agents_end(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    await node.add(sandbox)
    following = asyncio.create_task(ovnlet(node, "events", "--follow", "-o", "json"))
    watching = asyncio.create_task(ovnlet(node, "events", "--follow", through=TERMINAL))
    await node.inside(sandbox, "ip", "route", "del", "default")

    async def repaired() -> bool:
        return b"NetworkRepaired" in (await ovnlet(node, "events")).stdout

    await until(repaired, "the event of the repair")
    assert node.agent is not None
    node.agent.stop()
    outcome = await asyncio.wait_for(following, 20)
    (event,) = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert (event["reason"], event["pod"], outcome.stderr) == (
        "NetworkRepaired",
        sandbox.pod.name,
        b"",
    )
    seen = (await asyncio.wait_for(watching, 20)).stdout
    assert b"waiting for new Events" in seen
    assert b"NetworkRepaired" in seen


async def test_a_bundle_holds_what_is_asked_for_next_and_no_credential(
    node: AgentNode, tmp_path: Path
) -> None:
    sandbox = await node.sandbox()
    await node.add(sandbox)
    node.annotate(sandbox.pod, {"ovn.kubernetes.io/ingress_rate": PLANTED})

    async def listed() -> bool:
        return b"ingress_rate" in (await ovnlet(node, "pods", "-o", "json")).stdout

    await until(listed, "the annotation in the list of pods")
    await node.sh(
        f"mkdir -p /etc/cni/net.d; echo 'token: {PLANTED}' > /etc/cni/net.d/50-other.conf"
    )
    await node.sh(f"ovs-vsctl set open_vswitch . external_ids:other-vendor={PLANTED_KEY}")
    made = await ovnlet(node, "bundle", str(tmp_path / "bundle.tar.gz"))
    await node.sh("ovs-vsctl remove open_vswitch . external_ids other-vendor")
    await node.sh("rm /etc/cni/net.d/50-other.conf")
    assert made.exit_code == 0, made
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        files = {
            each.name.removeprefix("ovnlet-bundle/"): archive.extractfile(each) for each in archive
        }
        texts = {name: file.read().decode() for name, file in files.items() if file}
    assert {
        "versions.json",
        "settings.json",
        "doctor.json",
        "attachments.json",
        "plan.json",
        "log.json",
    } <= texts.keys()
    assert sandbox.container_id in texts["ovsdb.json"]
    assert f"sandboxes/{sandbox.container_id}.eth0.json" in texts
    assert "serving" in texts["log.json"]
    whole = "\n".join(texts.values())
    assert "net.d/50-other.conf" not in texts
    assert "50-other.conf" in texts["net.d.json"]
    assert PLANTED_KEY not in texts["ovsdb.json"]
    assert "(left out)" in texts["log.json"]
    for secret in (PLANTED, PLANTED.partition(".")[2], node.bed.token):
        assert secret not in whole


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_that_shell(shell: str) -> None:
    words = [sys.executable, "-m", "ovnlet", "completion", shell]
    script = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "_OVNLET_COMPLETE" in script
