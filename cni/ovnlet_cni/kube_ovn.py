"""What the plugin of Kube-OVN sends and reads, translated to and from our own requests.

The format is that of its releases 1.12 to 1.17: `POST /api/v1/add` and `/api/v1/del` with a JSON
object. The answer of an ADD has two shapes in one, since a client ignores keys that it does not
know: flat and comma-separated until 1.15, a list `ips` from 1.16 on. A DEL has no body. An error is
an object with the key `error`.
"""

import json
from collections.abc import Mapping

from ovnlet_cni import netconf, request
from ovnlet_cni.errors import CniError, Code, UnknownProvider
from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedIp, AttachedRoute

ADD, DEL = "/api/v1/add", "/api/v1/del"
# The type of a network configuration whose interface is made; any other asks for addresses alone.
KUBE_OVN = "kube-ovn"
_VERSION = "1.1.0"
_PROTOCOLS = {4: "IPv4", 6: "IPv6"}
_BAD = frozenset({Code.DECODE, Code.INVALID_ENVIRONMENT, Code.TRY_AGAIN})
Json = dict[str, object]


def read_add(body: bytes) -> Attach:
    """Return the ADD that a plugin asks for. Raises CniError."""
    fields = _fields(body)
    netconf.refuse_devices(fields)
    config: Json = {"type": _text(fields, "cni_type"), "routes": fields.get("routes")}
    config["provider"] = _text(fields, "provider")
    return Attach(
        version=_VERSION,
        namespace=request.namespace(_text(fields, "pod_namespace"), "pod_namespace"),
        pod=request.pod(_text(fields, "pod_name"), "pod_name"),
        netns=_text(fields, "net_ns"),
        provider=netconf.provider(config),
        routes=netconf.routes(config, direct=True),
        ipam_only=config["type"] != KUBE_OVN,
        config=config,
        container_id=_container_id(fields),
        ifname=_ifname(fields),
    )


def read_delete(body: bytes) -> Detach:
    """Return the DEL that a plugin asks for. Raises CniError."""
    fields = _fields(body)
    ipam_only = _text(fields, "cni_type") != KUBE_OVN
    netns = _text(fields, "net_ns") or None
    return Detach(_VERSION, _container_id(fields), _ifname(fields), netns, ipam_only)


def answer(attached: Attached) -> bytes:
    """Return the answer of an ADD, for all releases of the plugin."""
    link = attached.interfaces[0] if attached.interfaces else None
    ips = [_ip(each) for each in attached.ips]
    body: Json = {
        "protocol": "Dual" if len(ips) > 1 else "".join(each["protocol"] for each in ips),
        "address": ",".join(each["ip"] for each in ips),
        "mac_address": link.mac if link else "",
        "cidr": ",".join(each["cidr"] for each in ips),
        "gateway": ",".join(each["gateway"] for each in ips if "gateway" in each),
        "ips": ips,
        "routes": [_route(each) for each in attached.routes],
        "mtu": (link.mtu if link else None) or 0,
        "nicname": link.name if link else "",
        "dns": {},
        "error": "",
    }
    return json.dumps(body).encode()


def refusal(error: CniError) -> tuple[int, bytes]:
    """Return status and body of an error.

    400 is for what cannot be read, an unknown provider and a wait that ran out; 500 for the rest.
    The plugin shows the text and answers with code 11, so that the runtime tries again.
    """
    status = 400 if isinstance(error, UnknownProvider) or error.code in _BAD else 500
    text = ": ".join(part for part in (error.message, error.details) if part)
    return status, json.dumps({"error": text}).encode()


def _fields(body: bytes) -> Json:
    """Return the object in a request. Raises CniError."""
    try:
        return dict(netconf.decode(body.decode()))
    except UnicodeDecodeError as error:
        raise CniError(Code.DECODE, f"the request is not UTF-8: {error}") from error
    except CniError as error:
        raise CniError(Code.DECODE, error.message.replace("stdin", "the request")) from error


def _text(fields: Mapping[str, object], key: str) -> str:
    """Return a string, empty where it is missing. Raises CniError."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise CniError(Code.DECODE, f"{key}={value!r} in the request is not a string")
    return value


def _container_id(fields: Mapping[str, object]) -> str:
    return request.container_id(_text(fields, "container_id"), "container_id")


def _ifname(fields: Mapping[str, object]) -> str:
    return request.ifname(_text(fields, "if_name"), "if_name")


def _ip(ip: AttachedIp) -> dict[str, str]:
    """Return an address as an entry of `ips`."""
    network = ip.address.network
    entry = {"protocol": _PROTOCOLS[ip.address.version], "ip": str(ip.address.ip)}
    gateway = {} if ip.gateway is None else {"gateway": str(ip.gateway)}
    return {**entry, "cidr": str(network), **gateway}


def _route(route: AttachedRoute) -> Json:
    return {"dst": str(route.dst), **({} if route.gw is None else {"gw": str(route.gw)})}
