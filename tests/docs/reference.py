"""Reference pages generated from the code: settings, the command line, metrics, errors."""

from collections.abc import Iterator
from pathlib import Path

import click
import yaml
from prometheus_client import CollectorRegistry

from ovnlet.__main__ import main
from ovnlet.agent.cni_service import ANSWERS
from ovnlet.agent.metrics import Metrics
from ovnlet.cli.options import Command
from ovnlet.cli.output import DIFFERENT, FAULTY
from ovnlet.controller.http import HttpEndpoints
from ovnlet.core.setting import Setting, Validated
from ovnlet.core.settings import ControllerSettings, Settings
from ovnlet_cni.errors import Code

# By section and message: cause, and what to do.
MESSAGES: dict[str, dict[str, list[str]]] = yaml.safe_load(
    (Path(__file__).parent / "errors.yaml").read_text()
)
# The examples that no test runs on a node, and why.
NOT_RUN = {
    "agent": "it serves until it is stopped; each agent of the tests is started so",
    "controller": "it serves until it is stopped; each replica of the tests is started so",
    "cluster": "tests/docs/test_cluster_examples.py runs it, and make tools-e2e on two nodes",
    "uninstall": "tests/integration/cni/agent/test_uninstall.py and controller/test_removal.py do",
}
# The options that each command for a cluster has.
CLUSTER = {"kubeconfig", "context", "ovnlet_namespace"}
# The settings models of the commands, each with a setting that the other one does not have.
MODELS: dict[type[Validated], str] = {Settings: "node_name", ControllerSettings: "identity"}


def settings() -> str:
    """Return the page of the settings."""
    lines = [
        "# Settings",
        "",
        "Each setting is a flag (`--node-name`), an environment variable (`OVNLET_NODE_NAME`) or a",
        "key of the YAML file that `--config` names. A flag overrides a variable, a variable",
        "overrides the file. Settings are read once, at start. If one is wrong, the program names",
        "it and what is allowed, and does not start.",
    ]
    for title, model in (("The agent", Settings), ("The controller", ControllerSettings)):
        lines += [
            "",
            f"## {title}",
            "",
            "| setting | values | default | what it is |",
            "|---|---|---|---|",
        ]
        for name, each in model.settings().items():
            default = "" if each.default is None else f"`{each.default}`"
            default = "required" if each.is_required else default
            lines.append(f"| `{name}` | {values(each)} | {default} | {each.description} |")
    return "\n".join(lines) + "\n"


def values(setting: Setting) -> str:
    """Return the allowed values of a setting."""
    if setting.number:
        return "number" if setting.number is int else "seconds"
    words = [f"`{word}`" for word in setting.words]
    return ", ".join(["address", *words] if setting.is_address else words) or "text"


def command_line() -> str:
    """Return the page of the command line."""
    lines = [
        "# Command line",
        "",
        "| exit code | means |",
        "|---|---|",
        "| 0 | done; `plan`: nothing to do; `doctor`: no fault |",
        "| 1 | an error, reported on standard error: no agent answers, no such pod;"
        " `uninstall`: pods are there |",
        f"| {DIFFERENT} | a wrong flag or setting; `plan`: there are steps;"
        " `apply`: steps are left |",
        f"| {FAULTY} | `doctor`: there is a fault; `cluster status`: something is not ready; "
        "`cluster trace`: something is wrong |",
        "",
        "A command prints a table with colours on a terminal, lines with tabs if its output is no",
        "terminal, and JSON or YAML on request (`-o json`, `-o yaml`).",
    ]
    for name, command in commands():
        lines += ["", f"## ovnlet {name}", "", (command.help or "").strip(), ""]
        lines += [*_parameters(command), *_examples(name, command)]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its words, those of a group behind the group's name."""
    context = click.Context(main, info_name="ovnlet")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group):
            yield name, command
            continue
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield f"{name} {inner}", found


def _parameters(command: click.Command) -> Iterator[str]:
    """Yield a line for each option and argument; the settings are one line."""
    named = {parameter.name for parameter in command.params}
    model = next((each for each, key in MODELS.items() if key in named), None)
    known = {each for other in MODELS for each in other.settings()}
    if model:
        yield "- the [settings](settings.md), and `--config` for a YAML file of them"
    if named >= CLUSTER:
        yield "- `--kubeconfig`, `--context`, `--ovnlet-namespace`: which cluster"
    context = click.Context(main, info_name="ovnlet")
    for parameter in command.params:
        if parameter.name in ({*known, "config"} if model else set()) | CLUSTER:
            continue
        if isinstance(parameter, click.Option):
            shown = ", ".join(f"`{word}`" for word in parameter.opts)
            has = not parameter.is_flag and isinstance(parameter.default, str | int | float)
            default = f" (default `{parameter.default}`)" if has and parameter.default else ""
            yield f"- {shown}: {parameter.help}{default}"
        else:
            yield f"- `{parameter.make_metavar(context)}`"


def _examples(name: str, command: click.Command) -> list[str]:
    """Return a command's examples as a block that a test runs on a node with a pod web-0."""
    assert isinstance(command, Command), f"{name} has no examples"
    assert command.examples, name
    mark = NOT_RUN.get(name.partition(" ")[0])
    # What a person types, not root on a node.
    prompt = "$" if name.startswith("cluster ") else "#"
    block = [
        line for call, what in command.examples.items() for line in (f"{prompt} {call}  # {what}",)
    ]
    return [
        "",
        f"<!-- {f'not run: {mark}' if mark else 'run: cli'} -->",
        "```console",
        *block,
        "```",
    ]


def metrics() -> str:
    """Return the page of the metrics of agent and controller."""
    registries: list[CollectorRegistry] = [
        Metrics(lambda: []).registry,
        HttpEndpoints("127.0.0.1:0").registry,
    ]
    lines = [
        "# Metrics",
        "",
        "The agent serves them on its socket",
        "(`curl --unix-socket /run/ovnlet/cni.sock http://agent/metrics`) and, if the setting",
        "`http` names an address, also there. The controller serves its own at its setting",
        "`listen`.",
        "With the setting `kube_ovn_http` the agent serves them at kube-ovn-cni's port too, beside",
        "`cni_op_latency_seconds{node_name,method,status_code}` and the counters",
        "`cni_wait_address_seconds_total`, `cni_wait_route_seconds_total` and",
        "`cni_wait_connectivity_seconds_total` (the wait for OVN), all with the label `node_name`.",
        "Alert rules: `manifests/alerts/ovnlet.rules.yaml`.",
        "",
        "| name | type | what it is |",
        "|---|---|---|",
    ]
    # Both have those of `program_metrics`.
    families = {family.name: family for each in registries for family in each.collect()}
    for family in sorted(families.values(), key=lambda family: family.name):
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Return the page of the error classes, with the answer that a runtime gets, and messages."""
    lines = [
        "# Errors",
        "",
        "Each class says who must act. A runtime gets the code, the message and the advice; kubelet"
        " shows them in the",
        "Event `FailedCreatePodSandBox`. The messages follow, with `…` for what is filled in.",
        "A message about an annotation or a request begins with its name and value.",
        "",
        "| error | who acts | CNI code | advice |",
        "|---|---|---|---|",
    ]
    for kind, (code, advice) in ANSWERS.items():
        actor = (kind.__doc__ or "").splitlines()[0]
        lines.append(f"| `{kind.__name__}` | {actor} | {int(code)} | {advice} |")
    lines += [
        "",
        "The server's own codes, and those of the specification:",
        "",
        "| CNI code | name |",
        "|---|---|",
    ]
    lines += [f"| {int(code)} | `{code.name}` |" for code in Code]
    for title, messages in MESSAGES.items():
        lines += ["", f"## {title}", "", "| message | cause | what to do |", "|---|---|---|"]
        for text, (cause, fix) in sorted(messages.items(), key=lambda row: row[0].strip("… ")):
            shown = text.replace("\n", " ").replace("|", "\\|")
            quoted = f"`` {shown} ``" if "`" in shown else f"`{shown}`"
            lines.append(f"| {quoted} | {cause} | {fix} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "errors.md": errors,
    "settings.md": settings,
    "cli.md": command_line,
    "metrics.md": metrics,
}
