"""The options that the commands for a cluster share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, ClassVar

import click

from ovnlet.cli.options import Command
from ovnlet.cluster.access import NAMESPACE, Access
from ovnlet.core.errors import NotReady

_CLUSTER = (
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Use this file; without it $KUBECONFIG, ~/.kube/config, or in a pod its account",
    ),
    click.option("--context", metavar="NAME", help="Use this context of the kubeconfig"),
    click.option(
        "--ovnlet-namespace",
        metavar="NAMESPACE",
        default=NAMESPACE,
        show_default=True,
        help="Where ovnlet is installed",
    ),
)
_PODS = (
    click.option(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        help="Pods of this namespace, not of the context's",
    ),
    click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Pods of all"),
    click.option(
        "-l",
        "--selector",
        metavar="LABELS",
        default="",
        help="Only pods with these labels: app=web",
    ),
)


class ClusterCommand(Command):
    """A command whose `--help` has sections of what it is about and of which cluster."""

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Which pods or nodes": ("namespace", "everywhere", "selector", "names", "node"),
        "Which cluster": ("kubeconfig", "context", "ovnlet_namespace"),
    }


def with_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the cluster's options, and call it with ``access``.

    A NotReady that it raises is the command's error.
    """

    def run(
        kubeconfig: Path | None, context: str | None, ovnlet_namespace: str, **given: Any
    ) -> None:
        try:
            command(access=Access(kubeconfig, context, ovnlet_namespace), **given)
        except NotReady as error:
            raise click.ClickException(str(error)) from error

    return _all(_CLUSTER, update_wrapper(run, command))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pods that a command is about; ``namespace`` None is that of the context."""

    namespace: str | None
    everywhere: bool
    selector: str


def with_pods(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose pods, and call it with ``chosen``."""

    def run(namespace: str | None, everywhere: bool, selector: str, **given: Any) -> None:
        command(chosen=Chosen(namespace, everywhere, selector), **given)

    return _all(_PODS, update_wrapper(run, command))


def with_namespace(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command about one pod the namespace of a name that has none, as ``access.here``.

    It goes below `with_cluster`.
    """

    def run(access: Access, namespace: str | None, **given: Any) -> None:
        access.here = namespace or access.here
        command(access=access, **given)

    return click.option(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        help="Of a POD without a namespace; without it the context's",
    )(update_wrapper(run, command))


def with_nodes(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option that chooses nodes by their labels."""
    return click.option(
        "-l",
        "--selector",
        metavar="LABELS",
        default="",
        help="Only nodes with these labels: zone=a",
    )(command)


def _all(
    options: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...],
    command: Callable[..., None],
) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command
