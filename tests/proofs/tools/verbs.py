"""Each verb once on a cluster of two nodes and 20 pods, with what it must show."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proofs.tools.operator import Operator
from proofs.tools.report import Ended, Report
from testbed import deploy, rights
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import OVN, Running

PODS = 20


def shown(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Run the verbs that only look."""
    with report.row("status") as row:
        # Under load a probe of a Ready agent may be late.
        ended = row.took(wait_for(lambda: _ended(ask, 0, "status"), "all Ready", timeout=120))
        lines = ended.text.splitlines()
        assert lines[0].startswith("agents\t2 of 2 nodes ready"), ended.text
        assert "1b" not in ended.stdout.hex(" ").split(), "colours in a pipe"
        assert len(lines) <= 24
        row.record(*lines)
    with report.row("pods -A") as row:
        ended = row.took(ask("pods", "-A", "-o", "json"))
        items = ended.json()["items"]
        mine = {(one["pod"], one["node"], one["ips"]) for one in items}
        expected = {(each.name, each.space.role, ",".join(each.ips)) for each in pods}
        assert expected <= mine, (expected - mine, ended)
        template = '{range .items[*]}{.node}/{.pod}{"\\n"}{end}'
        lines = ask("pods", "-A", "-o", f"jsonpath={template}").text.splitlines()
        assert sorted(lines) == sorted(f"{one['node']}/{one['pod']}" for one in items)
        chosen = ask("pods", "-l", "app=few", "-o", "json").json()["items"]
        assert {one["pod"] for one in chosen} == {p.name for p in pods if p.name[:4] == "few-"}
        row.record(f"{len(items)} attachments", f"{len(chosen)} by label")
    with report.row("show NS/POD") as row:
        far = next(each for each in pods if each.space.role == "n1")
        wait_for(lambda: _settled(ask), "a plan without steps", timeout=120)
        ended = row.took(ask("show", f"default/{far.name}"))
        assert ended.text.startswith("node n1\n"), ended
        assert all(line[:1] in "=n" for line in ended.text.splitlines()), ended.text
        missing = ask("show", "default/nobody")
        assert (missing.code, missing.stderr) == (1, "Error: no pod default/nobody\n"), missing
        row.record(f"{far.name} is on n1, {len(ended.text.splitlines()) - 1} resources")
    with report.row("version") as row:
        value = row.took(ask("version", "-o", "json")).json()
        assert set(value["agents"]) == {"n0", "n1"}
        assert value["skew"] == [], value
        row.record(json.dumps(value))


def typed(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Run each example of each `--help`, with a pod that exists, in a directory of its own."""
    verbs = [line.split()[0] for line in ask("--help").text.split("Commands:")[1].splitlines()[1:]]
    for verb in verbs:
        with report.row(f"the examples of {verb}") as row:
            _, _, shown = ask(verb, "--help").text.partition("Examples:")
            calls = [line.strip() for line in shown.splitlines() if "kubectl ovnlet" in line]
            assert calls, verb
            for call in calls:
                if " -f " in call:  # it follows until it is interrupted
                    continue
                for name, each in zip(("web-0", "web-1"), pods, strict=False):
                    call = call.replace(f"default/{name}", f"default/{each.name}")  # noqa: PLW2901
                # The pods here have one interface; `make networks` traces further ones.
                call = call.replace("/net1", "/eth0")  # noqa: PLW2901
                done = ask.shell(call)
                assert done.code == 0, (call, done)
                row.seconds = round(row.seconds + done.seconds, 2)
                row.record(call)


def planned(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Break what an agent that only reports leaves, and find it in plan and events."""
    with report.row("plan -A, nothing differs") as row:
        # A pass may just be at work on a pod that has started.
        row.took(wait_for(lambda: _settled(ask), "a plan without steps", timeout=120))
    with report.row("plan -A, one route differs") as row:
        far = next(each for each in pods if each.space.role == "n1")
        stop = _kept_broken(far)
        try:
            ended = wait_for(lambda: _ended(ask, 2, "plan", "-A"), "a plan with steps", timeout=120)
        finally:
            stop.set()
        row.took(ended)
        assert far.name in ended.text, ended
        row.record(*ended.text.splitlines())


def _ended(ask: Operator, code: int, *words: str) -> Ended | None:
    """Return how a command ended if it did so with a code, for `wait_for`."""
    ended = ask(*words)
    return ended if ended.code == code else None


def _settled(ask: Operator) -> Ended | None:
    ended = _ended(ask, 0, "plan", "-A")
    return ended if ended and not ended.stdout else None


def _kept_broken(pod: Running) -> threading.Event:
    """Remove a pod's default route again and again, until the event that is returned is set."""
    stop = threading.Event()
    script = "while :; do ip route del default 2>/dev/null; done"
    process = pod.popen("sh", "-c", script)

    def end() -> None:
        stop.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()

    threading.Thread(target=end).start()
    return stop


def followed(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Follow the Events of all nodes while a route is repaired on each."""
    with report.row("events -f -A") as row:
        process = ask.popen("events", "-f", "-A", "-o", "json")
        try:
            time.sleep(4)
            began = time.monotonic()
            two = [next(p for p in pods if p.space.role == node) for node in ("n0", "n1")]
            for each in two:
                each.inside("ip", "route", "del", "default")
            left = {(each.space.role, each.name) for each in two}
            assert process.stdout is not None
            while left:
                event = json.loads(process.stdout.readline())
                if event["reason"] == "NetworkRepaired":
                    left.discard((event["node"], event["pod"]))
            row.seconds = round(time.monotonic() - began, 2)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
        assert process.returncode == 0, process.stderr and process.stderr.read()
        row.record("repairs on n0 and n1 arrived")
    with report.row("events -A, of the kept ones") as row:
        items = row.took(ask("events", "-A", "-o", "json")).json()["items"]
        assert {one["node"] for one in items if one["reason"] == "NetworkRepaired"} == {"n0", "n1"}
        assert items == sorted(items, key=lambda one: one["time"])
        row.record(f"{len(items)} Events")


def examined(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Plant three faults on two nodes; each must be found, with its nodes, and none without."""
    with report.row("doctor --all, before the faults") as row:
        ended = row.took(ask("doctor", "--all", "-o", "json"))
        before = {one["what"] for one in ended.json()["items"] if one["level"] == "fault"}
        row.record(*sorted(before) or ["no fault"])
    far = next(each for each in pods if each.space.role == "n1")
    with (
        report.row("doctor --all, three faults on two nodes") as row,
        _three_faults(ask.bed, far.name),
    ):
        expected = {("n0", "n1"): "open to others", ("n0",): "00-other.conf", ("n1",): far.name}
        places = wait_for(lambda: _places(ask, before, expected), "three faults", timeout=120)
        row.took(ask("doctor", "--all"))
        row.record(*(f"{' '.join(nodes)}: {what}" for nodes, what in places.items()))
    with report.row("doctor --all, after the faults") as row:
        wait_for(lambda: _faults(ask, before) == [], "no further fault", timeout=120)
        row.took(ask("doctor", "--all"))


@contextmanager
def _three_faults(bed: Bed, pod: str) -> Iterator[None]:
    for node in bed.nodes:
        node.sh("chmod 755 /run/ovnlet")
    bed.node(0).sh("echo '{}' > /etc/cni/net.d/00-other.conf")
    bed.kubectl("annotate", "pod", pod, f"{OVN}/ingress_rate=fast")
    try:
        yield
    finally:
        bed.node(0).sh("rm /etc/cni/net.d/00-other.conf")
        for node in bed.nodes:
            node.sh("chmod 700 /run/ovnlet")
        bed.kubectl("annotate", "pod", pod, f"{OVN}/ingress_rate-")


def _faults(ask: Operator, before: set[str]) -> list[Any] | None:
    """Return the groups of faults that were not there before; none if a node did not answer."""
    ended = ask("doctor", "--all", "-o", "json")
    if ended.code not in (0, 3):
        return None
    items = ended.json()["items"]
    return [one for one in items if one["level"] == "fault" and one["what"] not in before]


def _places(
    ask: Operator, before: set[str], expected: dict[tuple[str, ...], str]
) -> dict[tuple[str, ...], str] | None:
    """Return each fault by its nodes, once these and no others are found; else none."""
    found = _faults(ask, before) or []
    places = {tuple(group["nodes"]): str(group["what"]) for group in found}
    if (len(found), set(places)) != (len(expected), set(expected)):
        return None
    return places if all(word in places[nodes] for nodes, word in expected.items()) else None


def compared(ask: Operator, report: Report, pods: list[Running]) -> None:
    """Two foreign libraries see what the agent sees of all pods of a node."""
    words = ("exec", deploy.DAEMONSET, "--", "ovnlet", "doctor", "--second-opinion", "-o", "json")
    with report.row("doctor --second-opinion") as row:
        began = time.monotonic()
        findings = json.loads(ask.bed.kubectl("-n", deploy.NAMESPACE, *words))
        row.seconds = round(time.monotonic() - began, 2)
        assert [one["level"] for one in findings] == ["ok"], findings
        assert f"see {len(pods) // 2} pods" in findings[0]["what"], findings
        row.record(findings[0]["what"])


def lean(ask: Operator, report: Report, _: list[Running]) -> None:
    """Assert that the agent's image has neither the client nor the plugin of kubectl."""
    script = "ls /usr/local/bin; python3 -c 'import kubernetes'"
    words = ("exec", deploy.DAEMONSET, "--", "sh", "-c", f"{script} 2>&1 | tail -n 1")
    with report.row("the agent's image has no client") as row:
        lines = ask.bed.kubectl("-n", deploy.NAMESPACE, *words).splitlines()
        assert lines == ["ovnlet", "ModuleNotFoundError: No module named 'kubernetes'"], lines
        row.record(*lines)


def rights_used(ask: Operator, report: Report, _: list[Running]) -> None:
    """Every right of manifests/tools was used, and no other was asked for."""
    with report.row("rights of manifests/tools") as row:
        found = rights.look(ask.bed, "ovnlet-operator")
        row.record(*(f"{right}: {many}" for right, many in sorted(found.used.items())))
        assert not found.excess, found.excess
        # Which verb a WebSocket needs depends on the release of Kubernetes.
        assert set(found.unused) <= {"get pods/exec", "create pods/exec"}, found.unused
        assert len(found.unused) == 1, found.unused
