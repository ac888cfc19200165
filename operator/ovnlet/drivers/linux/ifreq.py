"""Ask for a link's index or state by an ioctl of a socket in its namespace (netdevice(7)).

A netlink message shows some forty attributes of a link, and costs twenty times as much. Where there
is no such link the kernel looks for a module (dev_load), so ask for links that should be there.
"""

import errno
import struct
from fcntl import ioctl

from ovnlet.drivers.linux.ethtool import HasFileno

_SIOCGIFINDEX, _SIOCGIFFLAGS, _IFF_UP = 0x8933, 0x8913, 1
# struct ifreq: a name, and an index or, in its first half, flags.
_REQUEST = struct.Struct("@15sxi20x")


def index(socket: HasFileno, link: str) -> int:
    """Return the link's index; 0 without such a link. Raise OSError if the kernel refuses."""
    return _call(socket, link, _SIOCGIFINDEX)


def is_up(socket: HasFileno, link: str) -> bool:
    """Return whether there is such a link and it is up. Raise OSError if the kernel refuses."""
    return bool(_call(socket, link, _SIOCGIFFLAGS) & _IFF_UP)


def _call(socket: HasFileno, link: str, command: int) -> int:
    try:
        name = link.encode(errors="surrogateescape")
        answer = ioctl(socket.fileno(), command, _REQUEST.pack(name, 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise
    return int(_REQUEST.unpack(answer)[1])
