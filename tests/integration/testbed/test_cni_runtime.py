"""The runtime of the tests calls plugins as the CNI specification says. Two plugins record it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.cni_runtime import Attachment, PluginFailed, Refused, Runtime

WEB = Attachment("web", "/run/netns/web", args="IgnoreUnknown=1")
DB = Attachment("db", "/run/netns/db")
# Records each call, fails where it is told to, and answers an ADD with prevResult and its own name.
PLUGIN = """#!{python}
import json, os, sys
from pathlib import Path
own = Path(sys.argv[0])
stdin = json.loads(sys.stdin.read())
environment = {{k: v for k, v in os.environ.items() if k.startswith("CNI_")}}
with open(own.parent / "calls", "a") as calls:
    calls.write(json.dumps([own.name, environment, stdin]) + "\\n")
verb = environment["CNI_COMMAND"]
if verb in stdin.get("fails", []):
    print(json.dumps({{"cniVersion": "1.1.0", "code": 11, "msg": "not now"}}))
    sys.exit(1)
if verb == "VERSION":
    print(json.dumps({{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.1.0"]}}))
if verb == "ADD":
    print(json.dumps({{"by": [*stdin.get("prevResult", {{}}).get("by", []), own.name]}}))
"""


class Recorded:
    """Two plugins in a directory, and a runtime of their list."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in ("first", "second"):
            (path := directory / name).write_text(PLUGIN.format(python=sys.executable))
            path.chmod(0o755)

    def runtime(self, version: str = "1.1.0", fails: str = "", **keys: Any) -> Runtime:
        second = {"type": "second", "fails": [fails], "capabilities": {"ips": True}}
        plugins = [{"type": "first", "mtu": 1400}, second]
        network = {"cniVersion": version, "name": "net", "plugins": plugins, **keys}
        return Runtime(network, f"/nonexistent:{self._directory}", self._directory / "cache")

    def calls(self) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
        """Return plugin, environment and standard input of each call since the last time."""
        path = self._directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [tuple(json.loads(line)) for line in lines]

    def order(self) -> list[tuple[str, str]]:
        return [(verb["CNI_COMMAND"], name) for name, verb, _ in self.calls()]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_an_add_passes_each_result_to_the_next_plugin(recorded: Recorded) -> None:
    assert recorded.runtime().add(WEB) == {"by": ["first", "second"]}
    (first, environment, stdin), (second, same, last) = recorded.calls()
    assert (first, second) == ("first", "second")
    assert stdin == {"type": "first", "mtu": 1400, "cniVersion": "1.1.0", "name": "net"}
    assert last["prevResult"] == {"by": ["first"]}
    assert "capabilities" not in last
    assert environment == same == WEB.environment("ADD", environment["CNI_PATH"])


def test_check_and_del_pass_the_cached_result_and_del_goes_backwards(recorded: Recorded) -> None:
    recorded.runtime().add(WEB)
    recorded.calls()
    runtime = recorded.runtime()  # another process: the result is on the disk
    runtime.check(WEB)
    runtime.delete(WEB)
    calls = recorded.calls()
    assert [(env["CNI_COMMAND"], name) for name, env, _ in calls] == [
        ("CHECK", "first"),
        ("CHECK", "second"),
        ("DEL", "second"),
        ("DEL", "first"),
    ]
    assert all(stdin["prevResult"] == {"by": ["first", "second"]} for _, _, stdin in calls)
    runtime.delete(WEB)
    assert all("prevResult" not in stdin for _, _, stdin in recorded.calls())


def test_a_check_without_an_add_is_refused(recorded: Recorded) -> None:
    runtime = recorded.runtime()
    with pytest.raises(Refused, match="no ADD"):
        runtime.check(WEB)
    runtime.add(WEB)
    runtime.delete(WEB)
    with pytest.raises(Refused, match="has been deleted"):
        runtime.check(WEB)


def test_gc_deletes_what_is_cached_and_not_valid_then_calls_each_plugin(recorded: Recorded) -> None:
    runtime = recorded.runtime()
    runtime.add(WEB)
    runtime.add(DB)
    recorded.calls()
    assert runtime.collect([WEB]) == [DB]
    calls = recorded.calls()
    assert [(env["CNI_COMMAND"], name) for name, env, _ in calls] == [
        ("DEL", "second"),
        ("DEL", "first"),
        ("GC", "first"),
        ("GC", "second"),
    ]
    _, environment, stdin = calls[-1]
    assert set(environment) == {"CNI_COMMAND", "CNI_PATH"}
    assert stdin["cni.dev/valid-attachments"] == [{"containerID": "web", "ifname": "eth0"}]
    assert runtime.cached() == [WEB]


def test_a_failed_add_calls_no_further_plugin_and_caches_nothing(recorded: Recorded) -> None:
    runtime = recorded.runtime(fails="ADD")
    with pytest.raises(PluginFailed) as caught:
        runtime.add(WEB)
    assert (caught.value.plugin, caught.value.error["code"]) == ("second", 11)
    assert runtime.cached() == []


def test_a_failed_del_keeps_the_result_for_the_next_one(recorded: Recorded) -> None:
    recorded.runtime().add(WEB)
    with pytest.raises(PluginFailed):
        recorded.runtime(fails="DEL").delete(WEB)
    assert recorded.runtime().cached() == [WEB]


def test_a_failed_gc_of_one_plugin_spares_no_other(recorded: Recorded) -> None:
    runtime = recorded.runtime(fails="GC", plugins=[{"type": "second", "fails": ["GC"]}] * 2)
    with pytest.raises(PluginFailed):
        runtime.collect([])
    assert len(recorded.order()) == 2


@pytest.mark.parametrize(
    ("version", "keys", "verbs"),
    [
        ("1.1.0", {}, {"CHECK", "STATUS", "GC"}),
        ("0.4.0", {}, {"CHECK"}),
        ("1.1.0", {"disableCheck": True, "disableGC": True}, {"STATUS"}),
    ],
)
def test_verbs_that_the_list_lacks_or_disables_are_not_called(
    recorded: Recorded, version: str, keys: dict[str, Any], verbs: set[str]
) -> None:
    runtime = recorded.runtime(version, **keys)
    runtime.add(WEB)
    recorded.calls()
    runtime.check(WEB)
    runtime.status()
    runtime.collect([WEB])
    assert {verb for verb, _ in recorded.order()} == verbs


def test_a_version_that_a_plugin_lacks_is_refused(recorded: Recorded) -> None:
    assert recorded.runtime().version()["second"] == ["0.4.0", "1.1.0"]
    with pytest.raises(Refused, match=r"first does not support 0\.3\.1"):
        recorded.runtime("0.3.1").version()
    with pytest.raises(Refused, match="needs cniVersion"):
        recorded.runtime("0.3.1").check(WEB)
