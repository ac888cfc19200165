"""Which flags each version of Kubernetes' programs takes, from 1.20 to 1.36.

The bed starts whatever programs KUBEBUILDER_ASSETS names. It asks each for its version and leaves
out what that version refuses.
"""

from __future__ import annotations

import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed import kubernetes
from testbed.tool_output import output

OLDEST, NEWEST = 20, 36  # minor versions
_VERSION = re.compile(r"v1\.(\d+)\.\d+\S*")


class UnknownVersion(RuntimeError):
    """A program does not say which version it is, or it is one that the bed cannot start."""


def minor(program: Path) -> int:
    """Return the minor version of a program of Kubernetes. Raise UnknownVersion."""
    found = _VERSION.search(shown(program))
    if found is None or not OLDEST <= int(found[1]) <= NEWEST:
        raise UnknownVersion(
            f"{program} says {shown(program)!r}; the bed starts 1.{OLDEST} to 1.{NEWEST}"
        )
    return int(found[1])


def shown(program: Path) -> str:
    """Return what a program prints about its version, such as `Kubernetes v1.20.2`."""
    return _asked(program, program.stat().st_mtime_ns)


@cache
def _asked(program: Path, _: int) -> str:
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout or done.stderr).strip()


def gates(version: int) -> list[str]:
    """Return the feature gates as a flag. Two addresses for a pod need one in 1.20.

    It is on by default from 1.21 on, and 1.25 refuses its name.
    """
    return ["--feature-gates=IPv6DualStack=true"] if version <= 20 else []


def insecure_port(version: int) -> list[str]:
    """Return what closes the plain HTTP port of manager and scheduler, which 1.24 does not have."""
    return ["--port=0"] if version <= 23 else []


def kubelet_flags(version: int, runtime: str, pause: str) -> list[str]:
    """Return kubelet's flags for a container runtime.

    Until 1.23 docker is its default; 1.27 refuses the flag, and takes the socket from its
    configuration. 1.35 asks the runtime for the pause image.
    """
    return [
        *(["--container-runtime=remote"] if version <= 23 else []),
        *([f"--container-runtime-endpoint={runtime}"] if version < 27 else []),
        *([f"--pod-infra-container-image={pause}"] if version < 35 else []),
    ]


def kubelet_keys(version: int, runtime: str) -> dict[str, Any]:
    """Return the keys of kubelet's configuration that not every version knows.

    From 1.35 on kubelet refuses a machine with cgroups of version 1 unless it is told not to.
    """
    return {
        **({"featureGates": {"IPv6DualStack": True}} if version <= 20 else {}),
        **({"containerRuntimeEndpoint": runtime} if version >= 27 else {}),
        **({"failCgroupV1": False} if version >= 31 else {}),
    }


def software() -> list[str]:
    """Return what the bed runs on, one line for each program that does not come from here."""
    programs = kubernetes.assets()
    tools = ("etcd", "containerd", "runc", "ovs-vswitchd", "ovn-controller")
    return [
        *sorted({f"{shown(programs / name)}" for name in kubernetes.PROGRAMS}),
        *(_first_line(name) for name in tools),
        f"Linux {platform.release()}",
        f"ovnlet {metadata.version('ovnlet')}, Python {platform.python_version()}",
    ]


def _first_line(tool: str) -> str:
    """Return the first line that a tool prints about its version, which starts with its name."""
    line = next(iter(output(tool, "--version").splitlines()), "not installed")
    return line if line.startswith(tool) else f"{tool}: {line}"
