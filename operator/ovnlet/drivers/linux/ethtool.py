"""Read and switch the transmit checksum offload of a link by the ethtool ioctl.

The ioctl works on any socket of the network namespace that the link is in.
"""

from array import array
from fcntl import ioctl
from struct import pack
from typing import Protocol

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM = 0x16
_SET_TX_CHECKSUM = 0x17


class HasFileno(Protocol):
    """A socket, as far as an ioctl needs one."""

    def fileno(self) -> int:
        """Return the file descriptor."""


def tx_checksum(socket: HasFileno, link: str) -> bool:
    """Return whether the link has transmit checksum offload on.

    Raise OSError if the kernel refuses, with ENODEV if there is no such link.
    """
    return bool(_call(socket, link, _GET_TX_CHECKSUM))


def set_tx_checksum(socket: HasFileno, link: str, on: bool) -> None:
    """Switch transmit checksum offload on or off. Raise OSError if the kernel refuses.

    The kernel switches segmentation offload, which depends on it, off and on along with it.
    """
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
