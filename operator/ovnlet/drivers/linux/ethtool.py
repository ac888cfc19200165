"""Offloads of a link by the ethtool ioctl; any socket of the link's namespace carries it."""

from array import array
from fcntl import ioctl
from struct import pack
from typing import Protocol

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM = 0x16
_SET_TX_CHECKSUM = 0x17


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def tx_checksum(socket: HasFileno, link: str) -> bool:
    return bool(_call(socket, link, _GET_TX_CHECKSUM))


def set_tx_checksum(socket: HasFileno, link: str, on: bool) -> None:
    """Segmentation offload, which needs it, goes off and comes back with it."""
    _call(socket, link, _SET_TX_CHECKSUM, int(on))


def _call(socket: HasFileno, link: str, command: int, value: int = 0) -> int:
    # struct ethtool_value, behind the pointer in struct ifreq.
    argument = array("I", (command, value))
    address, _ = argument.buffer_info()
    ioctl(
        socket.fileno(),
        _SIOCETHTOOL,
        pack("@15sxP16x", link.encode(errors="surrogateescape"), address),
    )
    return argument[1]
