"""A runtime's request: environment and stdin, validated in skel's order, as frozen values.

Pure: nothing is opened here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ovnlet_cni import netconf
from ovnlet_cni.errors import CniError, Code
from ovnlet_cni.netconf import Config
from ovnlet_cni.result import Attached, AttachedRoute

_BAD_IN_IFNAME = re.compile(r"[/:\s\x00-\x1f\x7f]")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_POD = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_UID = re.compile(r"[0-9A-Za-z-]{1,128}")
_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
_OF_A_CONTAINER = frozenset({"ADD", "CHECK", "DEL"})


@dataclass(frozen=True, slots=True)
class Attach:
    """An ADD, or the content of a CHECK, whose `prev_result` is never None.

    `ipam_only` means that another plugin makes the interface and asks for its addresses. `mtu` is
    in bytes, 0 where the configuration has none.
    """

    version: str
    container_id: str
    ifname: str
    netns: str
    namespace: str
    pod: str
    uid: str | None = None
    provider: str = "ovn"
    routes: tuple[AttachedRoute, ...] = ()
    prev_result: Attached | None = None
    netns_override: bool = False
    ipam_only: bool = False
    mtu: int = 0
    config: Config = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK of an attachment against `attach.prev_result`."""

    attach: Attach


@dataclass(frozen=True, slots=True)
class Detach:
    """A DEL.

    It goes by container ID and interface alone: the pod, its CNI_ARGS and the namespace may be
    gone.
    """

    version: str
    container_id: str
    ifname: str
    netns: str | None = None
    ipam_only: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """A GC, with the attachments that the runtime calls valid."""

    version: str
    valid: frozenset[tuple[str, str]]
    ipam_only: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """A STATUS."""

    version: str


@dataclass(frozen=True, slots=True)
class Version:
    """A VERSION."""

    pass


Request = Attach | Check | Detach | Collect | Status | Version


def read(env: Mapping[str, str], config_text: str) -> Request:
    """Return the request that a runtime made.

    Raises CniError with the code and the variable or key that is wrong.
    """
    verb = _verb(env)
    if verb == "VERSION":
        return Version()
    config = netconf.decode(config_text)
    netconf.require_name(config)
    if verb in _OF_A_CONTAINER:
        container_id(env["CNI_CONTAINERID"], "CNI_CONTAINERID")
        ifname(env["CNI_IFNAME"], "CNI_IFNAME")
    version = netconf.version(verb, config)
    return _READERS[verb](env, config, version)


def _verb(env: Mapping[str, str]) -> str:
    """Return CNI_COMMAND, after checking that the verb's required variables are set."""
    verb = env.get("CNI_COMMAND", "")
    if verb not in _REQUIRED:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_COMMAND={verb!r} is unknown",
            f"use one of {', '.join(_REQUIRED)}",
        )
    missing = [name for name in _REQUIRED[verb] if not env.get(name)]
    if missing:
        message = f"required env variables [{','.join(missing)}] missing"
        raise CniError(Code.INVALID_ENVIRONMENT, message, f"the runtime sets them for {verb}")
    return verb


def container_id(value: str, name: str) -> str:
    """Return a container ID. Raises CniError with the variable's name if it is none."""
    # It names the record file and is in OVS's external_ids. Runtimes use at most 64 characters.
    if not netconf.NAME.fullmatch(value) or len(value) > 200:
        message = f"{name}={value!r} is not a container ID"
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            message,
            "use up to 200 letters, digits and _.-, a letter or digit first",
        )
    return value


def ifname(value: str, name: str) -> str:
    """Return an interface name by the kernel's rules. Raises CniError with the variable's name."""
    if (
        value in ("", ".", "..")
        or len(value.encode(errors="replace")) > 15
        or _BAD_IN_IFNAME.search(value)
    ):
        message = f"{name}={value!r} is not an interface name"
        raise CniError(
            Code.INVALID_ENVIRONMENT, message, "use 1 to 15 bytes without white space, / and :"
        )
    return value


def namespace(value: str, name: str) -> str:
    """Return the namespace of a pod. Raises CniError with the variable's name."""
    return _kubernetes(value, name, _NAMESPACE)


def pod(value: str, name: str) -> str:
    """Return the name of a pod. Raises CniError with the variable's name."""
    return _kubernetes(value, name, _POD)


def _kubernetes(value: str, name: str, shape: re.Pattern[str]) -> str:
    if not shape.fullmatch(value):
        message = f"{name}={value!r} is not a Kubernetes name" if value else f"{name} is missing"
        raise CniError(
            Code.INVALID_ENVIRONMENT, message, "this plugin attaches Kubernetes pods only"
        )
    return value


def _attach(env: Mapping[str, str], config: Config, version: str) -> Attach:
    args = _args(env.get("CNI_ARGS", ""))
    ours = netconf.of_interface(config)
    netconf.refuse_devices(ours)
    return Attach(
        version=version,
        container_id=env["CNI_CONTAINERID"],
        ifname=env["CNI_IFNAME"],
        netns=env["CNI_NETNS"],
        namespace=_arg(args, "K8S_POD_NAMESPACE", _NAMESPACE),
        pod=_arg(args, "K8S_POD_NAME", _POD),
        uid=_arg(args, "K8S_POD_UID", _UID) if args.get("K8S_POD_UID") else None,
        provider=netconf.provider(ours),
        routes=netconf.routes(ours, direct=netconf.is_ipam_only(config)),
        mtu=netconf.mtu(ours),
        prev_result=netconf.prev_result(config),
        netns_override=env.get("CNI_NETNS_OVERRIDE", "").upper() in ("1", "TRUE"),
        ipam_only=netconf.is_ipam_only(config),
        config=config,
    )


def _check(env: Mapping[str, str], config: Config, version: str) -> Check:
    attach = _attach(env, config, version)
    if attach.prev_result is None:
        message = "prevResult is missing in the network configuration of CHECK"
        raise CniError(Code.INVALID_CONFIG, message, "the runtime must pass the result of ADD")
    return Check(attach)


def _detach(env: Mapping[str, str], config: Config, version: str) -> Detach:
    netns = env.get("CNI_NETNS") or None
    ipam_only = netconf.is_ipam_only(config)
    return Detach(version, env["CNI_CONTAINERID"], env["CNI_IFNAME"], netns, ipam_only)


def _collect(_: Mapping[str, str], config: Config, version: str) -> Collect:
    return Collect(version, netconf.valid_attachments(config), netconf.is_ipam_only(config))


def _status(_: Mapping[str, str], __: Config, version: str) -> Status:
    return Status(version)


_READERS: dict[str, Callable[[Mapping[str, str], Config, str], Request]] = {
    "ADD": _attach,
    "CHECK": _check,
    "DEL": _detach,
    "GC": _collect,
    "STATUS": _status,
}


def _args(text: str) -> dict[str, str]:
    """Return CNI_ARGS as a dict. Raises CniError unless each entry is KEY=VALUE."""
    pairs = [pair.partition("=") for pair in text.split(";") if pair]
    for key, equals, _ in pairs:
        if not key or not equals:
            message = f"CNI_ARGS={text!r} is not a list of KEY=VALUE separated by ;"
            raise CniError(Code.INVALID_ENVIRONMENT, message, f"fix {key!r}")
    return {key: value for key, _, value in pairs}


def _arg(args: Mapping[str, str], key: str, shape: re.Pattern[str]) -> str:
    """Return an argument. Raises CniError if it is missing or does not have this shape."""
    return _kubernetes(args.get(key, ""), key, shape)
