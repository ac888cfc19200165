"""Tables of iptables-legacy: rules of ours in front, and everything else as it was."""

import struct

import pytest

from ovnlet.core.resources.gateway import Accepted
from ovnlet.core.values import prefix
from ovnlet.drivers.links import legacy_accepts
from ovnlet.drivers.linux import xtables
from ovnlet.drivers.linux.xtables import HOOKS, IPV4, IPV6, Family, Table, edited

pytestmark = pytest.mark.review2
INPUT, FORWARD, OUTPUT, NO_HOOK = HOOKS["INPUT"], HOOKS["FORWARD"], 3, 0xFFFFFFFF
ACCEPT, DROP, RETURN = -2, -1, -5
PREFIX = {IPV4: prefix("10.16.0.0/16"), IPV6: prefix("fd00:10:16::/64")}
# By name: the verdict of each rule, then the policy. A name is a jump to that chain.
CHAINS: dict[str, list[int | str]] = {
    "INPUT": ["user", ACCEPT],
    "FORWARD": [DROP, "user", DROP],
    "OUTPUT": [ACCEPT],
    "user": [DROP, RETURN],
}


def entry(family: Family, verdict: int, comment: bytes = b"") -> bytes:
    """Return a rule for all packets; a verdict that is not negative jumps."""
    anywhere = bytes(2 * family.address)
    body = xtables.accepting(family, anywhere, anywhere, comment)
    return body[:-8] + struct.pack("=i", verdict) + body[-4:]


def header(family: Family, name: str) -> bytes:
    """Return what precedes the rules of a chain of a user: a target ERROR with its name."""
    target = struct.pack("=H29sB30s2x", 64, b"ERROR", 0, name.encode())
    head = bytearray(family.entry)
    struct.pack_into("=HH", head, family.sizes, family.entry, family.entry + len(target))
    return bytes(head) + target


def table(family: Family) -> Table:
    """Return CHAINS as the kernel has them."""
    size = len(entry(family, 0))
    starts, at = {}, 0
    for name, rules in CHAINS.items():
        at += len(header(family, name)) if name == "user" else 0
        starts[name] = at
        at += size * len(rules)
    entries, policies = [], {}
    for name, rules in CHAINS.items():
        entries += [header(family, name)] if name == "user" else []
        for rule in rules:
            entries.append(entry(family, starts[rule] if isinstance(rule, str) else rule))
        policies[name] = starts[name] + size * (len(rules) - 1)
    hooks = ("INPUT", "FORWARD", "OUTPUT")
    firsts = (NO_HOOK, *(starts[name] for name in hooks), NO_HOOK)
    return Table(
        b"filter",
        0b1110,
        firsts,
        (NO_HOOK, *(policies[name] for name in hooks), NO_HOOK),
        tuple(entries),
    )


def walked(family: Family, made: Table) -> dict[int, list[int | str]]:
    """Return each hook's verdicts with its policy; a jump is the verdicts that it leads to."""
    by_offset = dict(made.by_offset())

    def verdict_of(body: bytes) -> int:
        return int(struct.unpack_from("=i", body, len(body) - 8)[0])

    def until(first: int, last: int) -> list[int | str]:
        found: list[int | str] = []
        for offset in sorted(each for each in by_offset if first <= each <= last):
            verdict = verdict_of(by_offset[offset])
            found.append(str(until(verdict, verdict)) if verdict >= 0 else verdict)
        return found

    hooks = (INPUT, FORWARD, OUTPUT)
    return {hook: until(made.firsts[hook], made.policies[hook]) for hook in hooks}


def ours(family: Family) -> list[bytes]:
    """Return rules of ours."""
    source = legacy_accepts._rule(family, Accepted(False, PREFIX[family]))
    return [source, legacy_accepts._rule(family, Accepted(True, PREFIX[family]))]


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_rules_come_in_front_and_all_others_stay_with_their_jumps(family: Family) -> None:
    was = table(family)
    before = walked(family, was)
    made = edited(family, was, FORWARD, lambda _: False, ours(family))
    after = walked(family, made.table)
    assert after == before | {FORWARD: [ACCEPT, ACCEPT, *before[FORWARD]]}
    assert list(made.table.chain(FORWARD))[:2] == ours(family)
    assert [each for each in made.origins if each is not None] == list(range(len(was.entries)))
    assert made.origins.count(None) == 2


@pytest.mark.parametrize("family", [IPV4, IPV6])
@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
def test_ours_go_wherever_they_are_and_the_table_is_as_before(family: Family, chain: str) -> None:
    was, hook = table(family), HOOKS[chain]
    made = edited(family, was, hook, lambda _: False, ours(family))
    sunk = edited(family, made.table, hook, lambda _: False, [entry(family, DROP)])
    gone = edited(family, sunk.table, hook, lambda each: b"ovnlet" in each, ())
    assert len(list(gone.table.chain(hook))) == len(list(was.chain(hook))) + 1
    back = edited(family, made.table, hook, lambda each: b"ovnlet" in each, ())
    assert back.table == was


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_a_comment_is_read_and_what_the_kernel_notes_is_not_compared(family: Family) -> None:
    rule = ours(family)[0]
    assert xtables.comment_of(family, rule) == b"ovnlet"
    assert xtables.comment_of(family, header(family, "user")) == b""
    noted = bytearray(rule)
    struct.pack_into("=QQ", noted, family.entry - 16, 12, 3400)
    struct.pack_into("=I", noted, family.sizes + 4, 4)
    struct.pack_into("=I", noted, family.sizes - 4, 0x4000)
    assert xtables.comparable(family, bytes(noted)) == xtables.comparable(family, rule)
    changed = bytearray(rule)
    changed[0] ^= 1
    assert xtables.comparable(family, bytes(changed)) != xtables.comparable(family, rule)


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_a_chain_of_a_user_goes_with_the_rules_that_lead_to_it(family: Family) -> None:
    was = table(family)
    end = [header(family, "ERROR")]
    was = Table(was.name, was.valid, was.firsts, was.policies, (*was.entries, *end))
    chains = xtables.chains_of(family, was)
    assert list(chains) == ["user"]
    gone = {
        offset
        for offset, each in was.by_offset()
        if offset in chains["user"] or xtables.jump_of(family, each) in chains["user"]
    }
    left = xtables.rebuilt(family, was, gone).table
    assert xtables.chains_of(family, left) == {}
    assert walked(family, left) == {INPUT: [ACCEPT], FORWARD: [DROP, DROP], OUTPUT: [ACCEPT]}
    assert left.entries[-1] == end[0]
