"""Links on top of a NIC, which take frames of it before its bridge does."""

from collections.abc import Collection, Iterator

from ovnlet.drivers.linux.rtnetlink import checked, get_links, integer
from ovnlet.drivers.linux.transport import Socket, attributes

# struct ifinfomsg; IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_LINK_NETNSID; of the third
# IFLA_INFO_KIND and IFLA_INFO_DATA, of a VLAN's IFLA_VLAN_ID.
_HEADER = 16
_NAME, _LINK, _INFO, _ELSEWHERE = 3, 5, 18, 37
_KIND, _DATA, _VLAN_ID = 1, 2, 1
# A NIC has one receiver of all its frames (netdev_rx_handler_register): a bridge, or these.
_RECEIVERS = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})


def takers(kernel: Socket, index: int, vlans: Collection[int]) -> Iterator[str]:
    """Yield in words the links that take frames which a bridge with these VLANs needs.

    The kernel gives a frame to a VLAN link before it gives it to the bridge
    (__netif_receive_skb_core). So one whose VLAN the bridge does not carry may stay as it is.
    """
    for body in kernel.dump(get_links()):
        name, parent, kind, vlan = stacked(body)
        if parent != index:
            continue
        if kind in _RECEIVERS:
            yield f"has {name} ({kind}) on it, which takes all its frames"
        elif kind == "vlan" and vlan in vlans:
            yield (
                f"has {name} on it, which takes the frames of VLAN {vlan} before the bridge: pods "
                "in that VLAN would get none"
            )


@checked
def stacked(body: bytes) -> tuple[str, int, str, int]:
    """Return name, index of the link below, kind and VLAN ID of a link; 0 for what it has not.

    Raise Garbled.
    """
    found = attributes(body, _HEADER)
    info = attributes(found.get(_INFO, b""))
    below = integer(found[_LINK]) if _LINK in found and _ELSEWHERE not in found else 0
    vlan = attributes(info.get(_DATA, b"")).get(_VLAN_ID, bytes(2))
    name, kind = (each.rstrip(b"\0").decode() for each in (found[_NAME], info.get(_KIND, b"")))
    return name, below, kind, int.from_bytes(vlan[:2], "little")
