"""An edit of a pod's Subnet changes its network in place on a real kernel."""

from integration.node.spaces import MAC, Bed, Listener
from ovnlet.core import annotations, desired
from ovnlet.core.identity import Node
from ovnlet.core.resources import Network, Port
from ovnlet.drivers.linux.rtnetlink import DELADDR, NEWADDR


async def test_an_edited_subnet_moves_mtu_and_gateway_and_touches_no_address(
    bed: Bed, listeners: tuple[Listener, Listener]
) -> None:
    node = Node("br-int", 1400, userspace=True)

    def wanted(**facts: str) -> Network:
        text = {
            "ovn.kubernetes.io/ip_address": "10.16.0.5,fd00::5",
            "ovn.kubernetes.io/cidr": "10.16.0.0/16,fd00::/64",
            "ovn.kubernetes.io/mac_address": MAC,
            "ovn.kubernetes.io/gateway": "10.16.0.1,fd00::1",
        }
        named = {"mtu": annotations.SUBNET_MTU, "gateway": annotations.SUBNET_GATEWAY}
        allocation = annotations.parse(
            text | {named[name]: value for name, value in facts.items()}, "ovn", "eth0"
        )
        whole = desired.network(bed.attachment, allocation, node)
        return frozenset(each for each in whole if not isinstance(each, Port))

    await bed.converge(wanted())
    before, index = bed.pod.addresses(), bed.pod.link("eth0")["ifindex"]
    for listener in listeners:
        listener.message_types()
    await bed.converge(wanted(mtu="1300", gateway="10.16.255.254,fd00::ffff"))
    assert (bed.pod.link("eth0")["mtu"], bed.node.link(bed.host)["mtu"]) == (1300, 1300)
    routes = bed.pod.routes()
    assert (routes["default"]["gateway"], routes[":default"]["gateway"]) == (
        "10.16.255.254",
        "fd00::ffff",
    )
    await bed.converge(wanted(mtu="1500"))
    assert (bed.pod.link("eth0")["mtu"], bed.node.link(bed.host)["mtu"]) == (1500, 1500)
    assert bed.pod.routes()["default"]["gateway"] == "10.16.0.1"
    assert bed.pod.link("eth0")["ifindex"] == index
    assert bed.pod.addresses().keys() == before.keys()
    assert not {NEWADDR, DELADDR} & set(listeners[1].message_types())
