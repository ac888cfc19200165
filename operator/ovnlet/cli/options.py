"""Settings as flags of a command: their groups in `--help`, their values, and what is wrong.

The settings' own model validates all values at once, so one start names every wrong one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from ovnlet.core.setting import Setting, Validated, WrongSettings

_M = TypeVar("_M", bound=Validated)
_FLAGS = "Options"
# Each setting of the models is in one group.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "This node": ("node_name", "run_dir", "sysctl_dir", "http"),
    "This replica": ("identity", "namespace", "lease", "lease_seconds", "listen"),
    "The container runtime": (
        *("pod_network", "cni_socket", "cni_bin_dir", "cni_conf_dir", "plugin", "add_budget"),
    ),
    "Open vSwitch and OVN's chassis": (
        *("bridge", "mtu", "chassis", "system_id", "ovn_remote", "encap_type", "encap_ip"),
        *("encap", "tunnel_interface", "ovsdb", "ovn_run_dir"),
    ),
    "Provider networks": (
        *("underlay", "underlay_timeout", "underlay_lease", "state_dir", "systemd_dir"),
        "arp_detect_ip_conflict",
    ),
    "Beside Kube-OVN": ("kube_ovn_socket", "kube_ovn_http", "tproxy"),
    "OVN's northbound database": ("ovn_nb", "ovn_key", "ovn_cert", "ovn_ca"),
    "The cluster": (
        *("kubeconfig", "api_server", "cluster_cidrs", "no_snat", "cluster_router"),
        *("join_switch", "join_cidr", "cool_down"),
    ),
    "Checks and logs": ("repair", "resync", "log_format", "log_level", "otlp"),
}
# What a setting's value is called in `--help`, and what is allowed, for a message.
SHAPES: Mapping[str, str] = {
    "PATH": "an absolute path",
    "NAME": "lower-case letters, digits, - and ., a letter or digit first and last",
    "NAMESPACE/NAME": "a namespace and the name of an object in it, with a slash between",
    "ID": "text without slashes and white space",
    "LINK": "a link name of at most 15 characters, without slashes and white space",
    "LINKS": "link names or regular expressions, comma separated",
    "ADDRESS|InternalIP": "an IPv4 or IPv6 address, or InternalIP",
    "PREFIXES": "prefixes such as 10.16.0.0/16, comma separated, none of them /0",
    "DESTINATIONS": "prefixes such as 203.0.113.0/24, comma separated",
    "REMOTE": "unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, several separated by commas",
    "HOST:PORT": "an address and a port such as 127.0.0.1:9441",
    "URL": "https:// with a host, such as https://192.0.2.1:6443",
    "COLLECTOR": "http:// or https:// with a host, such as http://127.0.0.1:4318",
    "ROUTER": "the name of a logical router, not empty",
}
_SHAPE_OF: Mapping[str, str] = {
    **dict.fromkeys(("node_name", "identity", "namespace", "lease", "join_switch"), "NAME"),
    **dict.fromkeys(("ovn_remote", "ovn_nb"), "REMOTE"),
    **dict.fromkeys(("cluster_cidrs", "join_cidr"), "PREFIXES"),
    **dict.fromkeys(("http", "listen", "kube_ovn_http"), "HOST:PORT"),
    **{
        "bridge": "LINK",
        "underlay_lease": "NAMESPACE/NAME",
        "no_snat": "DESTINATIONS",
        "tunnel_interface": "LINKS",
        "system_id": "ID",
        "api_server": "URL",
        "encap_ip": "ADDRESS|InternalIP",
        "otlp": "COLLECTOR",
        "cluster_router": "ROUTER",
    },
}
# Numbers whose bounds are not one range.
_NUMBERS: Mapping[str, str] = {"mtu": "0, or 1280 to 65535"}


class Command(click.Command):
    """A command whose settings `--help` shows in groups, behind its other options.

    ``examples`` are calls, each with what it is for. ``groups`` are the parameters of each section.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = GROUPS

    def __init__(
        self, *args: Any, examples: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = dict(examples or {})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one below the other."""
        if self.examples:
            with formatter.section("Examples"):
                for call, what in self.examples.items():
                    formatter.write_text(f"# {what}")
                    formatter.write(f"{'':{formatter.current_indent}}{call}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then one section for each group."""
        group_of = {name: group for group, names in self.groups.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (_FLAGS, *self.groups)}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections[group_of.get(parameter.name or "", _FLAGS)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def with_settings(
    model: type[Validated], *others: type[Validated]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag ``--name`` and a variable ``OVNLET_NAME`` for every setting.

    A setting that several models have is one flag. ``--config``, a file for ``model``, is processed
    before them.
    """
    fields: dict[str, Setting] = {}
    for each in (model, *others):
        fields = {**each.settings(), **fields}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for name, field in reversed(fields.items()):
            default = "" if field.default in (None, "") else f" [default: {field.default}]"
            command = click.option(
                _flag(name),
                name,
                envvar=f"OVNLET_{name.upper()}",
                metavar=metavar(name, field),
                help=f"{field.description}{default}",
            )(command)
        return click.option(
            "--config",
            type=click.Path(path_type=Path),
            envvar="OVNLET_CONFIG",
            callback=lambda _context, _parameter, path: _file(model, path),
            is_eager=True,
            expose_value=False,
            help="Read settings from this YAML file; flags and variables OVNLET_<NAME> override it",
        )(command)

    return decorate


def read(given: Mapping[str, Any], model: type[_M]) -> _M:
    """Return the validated settings of one model; values of others are ignored.

    Raises UsageError that names every wrong setting, its value and what is allowed.
    """
    known = {
        name: value
        for name, value in given.items()
        if name in model.settings() and value is not None
    }
    try:
        return model.of(known)
    except WrongSettings as error:
        wrong = [f"  {_problem(name, model, value)}" for name, value in error.values.items()]
        raise click.UsageError("wrong settings, not started:\n" + "\n".join(wrong)) from error


def metavar(name: str, field: Setting) -> str:
    """Return what stands for a setting's value in `--help`."""
    if name in _SHAPE_OF:
        return _SHAPE_OF[name]
    if field.words:
        return "|".join(field.words)
    return {int: "NUMBER", float: "SECONDS", None: "PATH"}[field.number]


def allowed(name: str, field: Setting) -> str:
    """Return in words which values a setting may have."""
    if name in _SHAPE_OF:
        return SHAPES[_SHAPE_OF[name]]
    if field.words:
        return f"{', '.join(field.words[:-1])} or {field.words[-1]}"
    if field.number:
        least, most = field.bounds
        return _NUMBERS.get(name, f"{least} to {most}")
    return SHAPES["PATH"]


def _problem(name: str, model: type[Validated], given: Any) -> str:
    """Return what is wrong with a setting, for the person who set it."""
    may_be = allowed(name, model.settings()[name])
    if given is None:
        return f"{_flag(name)} is missing; allowed: {may_be}"
    return f"{_flag(name)} is {str(given)!r}; allowed: {may_be}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _file(model: type[Validated], path: Path | None) -> Path | None:
    """Read the settings file as defaults for what neither a flag nor the environment sets.

    Raises BadParameter if it is not a YAML mapping of known settings.
    """
    if path is None:
        return None
    import yaml  # noqa: PLC0415 - only a file needs it

    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise click.BadParameter(f"{path} is not a mapping of settings")
    known = {str(name).replace("-", "_"): value for name, value in content.items()}
    if unknown := known.keys() - model.settings().keys():
        raise click.BadParameter(f"{path} has unknown settings: {', '.join(sorted(unknown))}")
    click.get_current_context().default_map = known
    return path
