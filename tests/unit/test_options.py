"""Settings on the command line: shown in groups, and refused in words."""

import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ovnlet.__main__ import main
from ovnlet.cli.options import GROUPS, Command, metavar, read
from ovnlet.cluster.commands import cluster
from ovnlet.core.settings import ControllerSettings, Settings

MODELS = (Settings, ControllerSettings)
# What Python and libraries say about values; nobody should have to read it.
RAW = re.compile(
    r"Value error|should (be|match|have)|pattern|unable to|does not appear|Traceback|'\^|\\\\"
)
WRONG = {
    Settings: {
        "node_name": "Upper Case",
        "bridge": "br/int",
        "mtu": "1000",
        "chassis": "own",
        "system_id": "a b",
        "encap_type": "gre",
        "encap_ip": "192.0.2",
        "cluster_cidrs": "nonsense",
        "cluster_router": "",
        "ovsdb": "db.sock",
        "http": "localhost",
        "api_server": "http://x",
        "add_budget": "fast",
        "resync": "0",
        "repair": "maybe",
    },
    ControllerSettings: {
        "identity": "-",
        "ovn_nb": "http://x",
        "ovn_key": "key.pem",
        "lease_seconds": "1",
        "cool_down": "-1",
        "listen": "here",
        "log_level": "loud",
    },
}


def test_each_setting_is_in_one_group() -> None:
    counted = Counter(name for names in GROUPS.values() for name in names)
    assert counted.keys() == {name for model in MODELS for name in model.settings()}
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("command", ["agent", "doctor", "bundle", "uninstall", "controller"])
def test_help_shows_groups_and_what_a_value_is(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert " TEXT" not in shown
    titles = [line[:-1] for line in shown.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert titles[0] == "Options"
    assert set(titles[1:-1]) <= set(GROUPS)
    assert "The cluster" in titles
    assert titles[-1] == "Examples"
    if command != "controller":
        assert re.search(r"--repair fix\|report\|off", shown)


def commands() -> Iterator[tuple[str, click.Group, list[str]]]:
    """Yield each command with its group and the words before its name in an example."""
    for name in main.list_commands(click.Context(main)):
        if name != "cluster":
            yield name, main, ["ovnlet"]
    for name in cluster.list_commands(click.Context(cluster)):
        yield name, cluster, ["kubectl", "ovnlet"]


@pytest.mark.parametrize(("name", "group", "before"), list(commands()))
def test_each_command_has_examples_that_it_takes(
    name: str, group: click.Group, before: list[str]
) -> None:
    context = click.Context(group, info_name=before[-1])
    command = group.get_command(context, name)
    assert isinstance(command, Command)
    assert command.examples
    shown = CliRunner().invoke(group, [name, "--help"]).output
    for call in command.examples:
        assert call in shown
        words = shlex.split(call.partition(" | ")[0])
        assert words[: len(before) + 1] == [*before, name]
        command.make_context(name, words[len(before) + 1 :], parent=context)


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_value_is_named_with_what_is_allowed(model: type[Settings]) -> None:
    with pytest.raises(click.UsageError) as refused:
        read(WRONG[model], model)
    first, *lines = refused.value.message.splitlines()
    assert first == "wrong settings, not started:"
    assert len(lines) == len(WRONG[model])
    for (name, value), line in zip(WRONG[model].items(), lines, strict=True):
        assert line.startswith(f"  --{name.replace('_', '-')} is {value!r}; allowed: "), line
        assert not RAW.search(line), line


def test_what_is_missing_is_named() -> None:
    with pytest.raises(click.UsageError, match="--identity is missing; allowed: lower-case"):
        read({}, ControllerSettings)


@pytest.mark.parametrize("model", MODELS)
def test_a_setting_is_called_a_path_only_if_it_is_one(model: type[Settings]) -> None:
    """A new setting that is text has to be given a shape."""
    paths = {name for name, field in model.settings().items() if metavar(name, field) == "PATH"}
    patterns = {name: model.settings()[name].pattern for name in paths}
    assert {name for name, text in patterns.items() if not text.startswith("^/")} == set()


@pytest.mark.parametrize(
    ("content", "words"),
    [("- a", "is not a mapping"), ("a: [", "is no YAML"), ("mtv: 1", "unknown settings: mtv")],
)
def test_a_wrong_file_is_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config").write_text(content)
    shown = CliRunner().invoke(main, ["agent", f"--config={tmp_path / 'config'}"])
    assert (shown.exit_code, words in shown.output) == (2, True), shown.output
    gone = CliRunner().invoke(main, ["agent", f"--config={tmp_path / 'gone'}"])
    assert "cannot be read: No such file or directory" in gone.output


def test_a_wrong_variable_is_refused_too() -> None:
    words = [sys.executable, "-m", "ovnlet", "agent", "--node-name=n"]
    done = subprocess.run(
        words, env={"OVNLET_MTU": "12x"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--mtu is '12x'; allowed: 0, or 1280 to 65535" in done.stderr
