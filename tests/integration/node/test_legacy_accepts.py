"""Tables of iptables-legacy on a real kernel: our accepts, and what kube-ovn-cni left.

Rules of others stay, with their counters.
"""

import fcntl
import re
import subprocess

import pytest

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.gateway import LEGACY, Accepted, Accepts, KubeOvnChains, KubeOvnRules
from ovnlet.core.values import prefix
from ovnlet.drivers.links import legacy_accepts, legacy_kube_ovn
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.linux import xtables_kernel
from ovnlet.drivers.linux.xtables import IPV4, IPV6

# In the bed's own network namespace.
pytestmark = [pytest.mark.review2, pytest.mark.usefixtures("bed")]
PREFIX = {"ip": "10.16.0.0/16", "ip6": "fd00:10:16::/64"}
FAMILIES = sorted(PREFIX)
THEIRS = """*filter
:INPUT ACCEPT [7:700]
:FORWARD DROP [8:800]
:OUTPUT ACCEPT [9:900]
:theirs - [0:0]
[1:100] -A INPUT -p tcp -m tcp --dport 22 -m comment --comment "not of ovnlet" -j theirs
[2:200] -A FORWARD -i dum0 -j theirs
[3:300] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[4:400] -A theirs -j RETURN
COMMIT
"""


def run(words: str, given: str = "") -> str:
    done = subprocess.run(
        words.split(), input=given, check=True, timeout=20, capture_output=True, text=True
    )
    return done.stdout


def tool(family: str, rest: str = "") -> str:
    return f"{'ip6tables' if family == 'ip6' else 'iptables'}-legacy{rest}"


def saved(family: str, table: str = "filter") -> list[str]:
    """Return the rules with their counters."""
    text = run(tool(family, f"-save -c -t {table}"))
    return [line for line in text.splitlines() if not line.startswith("#")]


def wanted(family: str, chain: str = "FORWARD") -> Accepts:
    own = prefix(PREFIX[family])
    accepted = (Accepted(False, own), Accepted(True, own))
    return Accepts(LEGACY + family, chain, accepted)


async def ensure(value: Accepts) -> None:
    await legacy_accepts.carry_out(Step(Verb.ENSURE, value))


def test_a_node_without_such_tables_gets_none() -> None:
    assert legacy_accepts.chains() == frozenset()
    assert list(legacy_accepts.observe(())) == []
    assert legacy_accepts.fingerprint() == {}
    assert not xtables_kernel.active(IPV4)
    assert not xtables_kernel.active(IPV6)


@pytest.mark.parametrize("family", FAMILIES)
async def test_ours_come_first_and_theirs_stay_with_their_counters(family: str) -> None:
    run(tool(family, "-restore -c"), THEIRS)
    before = saved(family)
    for chain in ("FORWARD", "INPUT"):
        await ensure(wanted(family, chain))
    found = set(legacy_accepts.observe([wanted(family), wanted(family, "INPUT")]))
    assert found == {wanted(family), wanted(family, "INPUT")}
    after = saved(family)
    ours = [line for line in after if "ovnlet -j ACCEPT" in line]
    assert [line for line in after if line not in ours] == before
    rules = [line for line in after if "-A FORWARD" in line]
    assert [re.sub(r"^\S+ ", "", line) for line in rules[:2]] == [
        f"-A FORWARD -s {PREFIX[family]} -m comment --comment ovnlet -j ACCEPT",
        f"-A FORWARD -d {PREFIX[family]} -m comment --comment ovnlet -j ACCEPT",
    ]
    for chain in ("FORWARD", "INPUT"):
        await legacy_accepts.carry_out(Step(Verb.REMOVE, wanted(family, chain)))
    assert saved(family) == before


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        " -I FORWARD -p udp -j DROP",
        " -D FORWARD 1",
        " -F FORWARD",
        " -R FORWARD 2 -d {other} -m comment --comment ovnlet -j ACCEPT",
        " -I FORWARD -s {other} -m comment --comment ovnlet -j ACCEPT",
    ],
)
async def test_each_change_of_ours_is_seen_and_undone(family: str, change: str) -> None:
    run(tool(family, "-restore -c"), THEIRS)
    await ensure(wanted(family))
    size = legacy_accepts.fingerprint()
    other = "192.0.2.0/24" if family == "ip" else "2001:db8::/64"
    run(tool(family, change.format(other=other)))
    if "-R" not in change:  # of the same size: only the resync notices it
        assert legacy_accepts.fingerprint() != size
    assert list(legacy_accepts.observe([wanted(family)])) != [wanted(family)]
    await ensure(wanted(family))
    assert list(legacy_accepts.observe([wanted(family)])) == [wanted(family)]


async def test_the_lock_of_iptables_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xtables_kernel, "_RETRIES", 3)
    run(tool("ip", "-restore -c"), THEIRS)
    with xtables_kernel.LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NodeFault, match=r"xtables\.lock"):
            await ensure(wanted("ip"))
    assert list(legacy_accepts.observe([wanted("ip")])) == []


LEFT = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-POSTROUTING - [0:0]
:OVN-MASQUERADE - [0:0]
:OVN-POSTROUTING - [0:0]
[1:10] -A POSTROUTING -m comment --comment "kube-ovn postrouting rules" -j OVN-POSTROUTING
[2:20] -A POSTROUTING -j KUBE-POSTROUTING
[3:30] -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
[4:40] -A KUBE-POSTROUTING -j MASQUERADE
[5:50] -A OVN-MASQUERADE -j MARK --set-xmark 0x0/0xffffffff
[6:60] -A OVN-MASQUERADE -j MASQUERADE
[7:70] -A OVN-POSTROUTING -m set --match-set {set} src -j OVN-MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:theirs - [0:0]
[1:10] -A FORWARD -s {other} -m comment --comment "ovn-subnet-gateway,ovn-default"
[2:20] -A FORWARD -m set --match-set {set} src -j ACCEPT
[3:30] -A FORWARD -s {other} -j theirs
[4:40] -A theirs -p tcp -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_kube_ovn_cni_left_goes_and_the_rest_stays(family: str) -> None:
    """K3: its chains would translate what our table leaves as it is, until a reboot."""
    name = "ovn60subnets" if family == "ip6" else "ovn40subnets"
    other = "2001:db8::/64" if family == "ip6" else "192.0.2.0/24"
    kind = "inet6" if family == "ip6" else "inet"
    run(f"ipset create {name} hash:net family {kind}")
    run(tool(family, "-restore -c"), LEFT.format(set=name, other=other))
    rules = [*saved(family, "nat"), *saved(family)]
    numbers = Tables().kube_ovn_sets()
    found = set(legacy_kube_ovn.observe(numbers))
    word = LEGACY + family
    chains = KubeOvnChains(word, "nat", ("OVN-MASQUERADE", "OVN-POSTROUTING"))
    assert found == {chains, KubeOvnRules(word, 2)}
    for each in found:
        await legacy_kube_ovn.remove(Step(Verb.REMOVE, each), numbers)
    assert set(legacy_kube_ovn.observe(numbers)) == set()
    theirs = re.compile("OVN-|ovn-subnet|match-set")
    expected = [line for line in rules if not theirs.search(line)]
    assert [*saved(family, "nat"), *saved(family)] == expected
    run(f"ipset destroy {name}")
