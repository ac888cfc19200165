"""Chains of nf_tables that drop what the node forwards unless one of their rules accepts it.

Docker sets such a policy. An accepting rule in another table cannot lift it: a packet passes the
chains of every table, and one drop is enough (nft(8)).
"""

import errno
import socket
import struct

from ovnlet.drivers.linux.transport import DUMP, NETFILTER, Request, Socket, attributes

_GETCHAIN = 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN
# NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY, _TYPE; NFTA_HOOK_HOOKNUM; NF_INET_FORWARD; NF_DROP.
_TABLE, _NAME, _HOOK, _POLICY, _TYPE, _NUMBER, _FORWARD, _DROP = 1, 3, 4, 5, 7, 1, 2, 0
_FAMILIES = {1: "inet", int(socket.AF_INET): "ip", int(socket.AF_INET6): "ip6"}
_NONE = frozenset(
    {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT}
)


def dropping() -> list[str]:
    """Return the chains as `family table chain`. Raise NodeFault or OSError.

    A kernel without nf_tables has none. Chains of `iptables-legacy` are not seen.
    """
    request = Request(_GETCHAIN, DUMP, struct.pack(">BBH", socket.AF_UNSPEC, 0, 0))
    try:
        with Socket(NETFILTER) as kernel:
            bodies = kernel.dump(request, empty=_NONE)
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise
    return sorted(filter(None, map(_dropping, bodies)))


def _dropping(body: bytes) -> str:
    """Return the words of a chain that drops what is forwarded, else an empty text."""
    chain = attributes(body, 4)
    hook = attributes(chain.get(_HOOK, b""), 0)
    family = _FAMILIES.get(body[0])
    is_forward = _number(hook.get(_NUMBER)) == _FORWARD and _text(chain, _TYPE) == "filter"
    if family is None or not is_forward or _number(chain.get(_POLICY)) != _DROP:
        return ""
    return f"{family} {_text(chain, _TABLE)} {_text(chain, _NAME)}"


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "big") if value else -1


def _text(chain: dict[int, bytes], key: int) -> str:
    return chain.get(key, b"").rstrip(b"\0").decode(errors="replace")
