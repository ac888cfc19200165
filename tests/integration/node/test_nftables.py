"""Our nftables table on a real kernel.

It is written as a whole, every change by `nft` is detected, and foreign tables stay.
"""

import subprocess
from ipaddress import ip_network

import pytest

from integration.node.spaces import Bed
from ovnlet.core.resources.nftables import Masquerade
from ovnlet.drivers.links import nftables

SOURCES = tuple(
    map(ip_network, ("10.16.0.0/16", "10.18.0.8/29", "192.0.2.0/25", "fd00:10:16::/64"))
)
INSIDE = tuple(
    map(ip_network, ("10.16.0.0/16", "10.17.0.1/32", "fd00:10:16::/64", "fd00:10:17::/120"))
)
WANTED = Masquerade("ovn0", SOURCES, INSIDE)
OTHERS = (
    "table ip theirs {\n\tchain c {\n"
    "\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
)


def nft(words: str) -> str:
    return subprocess.run(
        ["nft", *words.split()], check=True, capture_output=True, text=True, timeout=20
    ).stdout


def test_nft_reads_what_we_wrote(bed: Bed) -> None:
    nftables.write(WANTED)
    lines = [line.strip() for line in nft("list table inet ovnlet").splitlines()]
    assert lines[2] == "type nat hook postrouting priority srcnat; policy accept;"
    assert lines[3:-2] == [
        'oifname "ovn0" return',
        "ip daddr 10.16.0.0/16 return",
        "ip daddr 10.17.0.1 return",
        "ip6 daddr fd00:10:16::/64 return",
        "ip6 daddr fd00:10:17::/120 return",
        "ip saddr 10.16.0.0/16 masquerade fully-random",
        "ip saddr 10.18.0.8/29 masquerade fully-random",
        "ip saddr 192.0.2.0/25 masquerade fully-random",
        "ip6 saddr fd00:10:16::/64 masquerade fully-random",
    ]
    assert nftables.observe("ovn0") == WANTED


DAMAGES = (
    "flush ruleset",
    "delete table inet ovnlet",
    "flush chain inet ovnlet postrouting",
    "add rule inet ovnlet postrouting counter",
    "insert rule inet ovnlet postrouting ip daddr 198.51.100.0/24 return",
    "insert rule inet ovnlet postrouting ip protocol tcp accept",
    "add rule inet ovnlet postrouting ip saddr 10.99.0.0/16 masquerade",
    "add rule inet ovnlet postrouting ip saddr 10.99.0.0/16 masquerade fully-random",
    "add chain inet ovnlet other",
    "add chain inet ovnlet postrouting { policy drop ; }",
    "add table inet ovnlet { flags dormant ; }",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_change_by_nft_is_detected_and_repaired_in_one_write(bed: Bed, damage: str) -> None:
    nftables.write(WANTED)
    whole = nft("list table inet ovnlet")
    nft(damage)
    assert nftables.observe("ovn0") != WANTED
    nftables.write(WANTED)
    assert nftables.observe("ovn0") == WANTED
    assert nft("list table inet ovnlet") == whole


def test_a_look_writes_nothing_and_the_removal_leaves_others_alone(bed: Bed) -> None:
    nft("add table ip theirs")
    nft("add chain ip theirs c { type filter hook forward priority filter ; }")
    assert nftables.is_there()
    assert nftables.observe("ovn0") is None
    nftables.write(WANTED)
    nftables.remove()
    nftables.remove()
    assert nftables.observe("ovn0") is None
    assert nft("list ruleset") == OTHERS


def test_two_hundred_subnets_are_one_transaction(bed: Bed) -> None:
    prefixes = tuple(ip_network(f"10.{number}.0.0/16") for number in range(200))
    many = Masquerade("ovn0", prefixes, prefixes)
    nftables.write(many)
    assert nftables.observe("ovn0") == many
