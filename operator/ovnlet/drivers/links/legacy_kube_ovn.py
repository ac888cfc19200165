"""What kube-ovn-cni left in tables of `iptables-legacy`: its chains, and its rules in `filter`.

Like ``kube_ovn_chains`` and ``kube_ovn_rules``, for the tables that nf_tables does not have.
"""

from collections.abc import Collection, Iterator

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step
from ovnlet.core.resources.gateway import FILTER, OF_KUBE_OVN, KubeOvnChains, KubeOvnRules
from ovnlet.drivers.links.kube_ovn_chains import is_theirs
from ovnlet.drivers.links.kube_ovn_rules import COUNTER
from ovnlet.drivers.links.legacy_accepts import FAMILIES, with_table
from ovnlet.drivers.linux import xtables
from ovnlet.drivers.linux.xtables import Family, Table
from ovnlet.drivers.linux.xtables_kernel import Kernel, locked


def observe(numbers: Collection[int]) -> Iterator[KubeOvnChains | KubeOvnRules]:
    """Yield the chains of each table that has any, and how many rules match one of these sets.

    Raise OSError.
    """
    for name in OF_KUBE_OVN:
        for word, family in with_table(name):
            with Kernel(family, name) as kernel:
                table = kernel.read(only=b"OVN-")
            if table and (chains := _chains(family, table)):
                yield KubeOvnChains(word, name, tuple(sorted(chains)))
    for word, family in with_table(FILTER):
        with Kernel(family) as kernel:
            table = kernel.read(only=b"" if numbers else COUNTER)
        if table and (count := len(_rules(family, table, numbers))):
            yield KubeOvnRules(word, count)


async def remove(step: Step, numbers: Collection[int]) -> None:
    """Remove them from a table, with rules that lead to the chains. Raise NodeFault, OSError."""
    match step.resource:
        case KubeOvnChains(family=word, table=name):
            family = FAMILIES[word]
            async with locked():
                with Kernel(family, name) as kernel:
                    kernel.change(lambda t: xtables.rebuilt(family, t, _of_chains(family, t)))
        case KubeOvnRules(family=word):
            family = FAMILIES[word]
            async with locked():
                with Kernel(family) as kernel:
                    kernel.change(lambda t: xtables.rebuilt(family, t, _rules(family, t, numbers)))
        case _:
            raise NodeFault(f"{step}: not for a chain of iptables-legacy")


def _chains(family: Family, table: Table) -> dict[str, range]:
    found = xtables.chains_of(family, table)
    return {name: places for name, places in found.items() if is_theirs(name)}


def _of_chains(family: Family, table: Table) -> set[int]:
    """Return the offsets of the entries of its chains, and of the rules that jump there."""
    places = _chains(family, table).values()
    gone = set()
    for offset, entry in table.by_offset():
        jump = xtables.jump_of(family, entry)
        if any(offset in each or (jump is not None and jump in each) for each in places):
            gone.add(offset)
    return gone


def _rules(family: Family, table: Table, numbers: Collection[int]) -> set[int]:
    """Return the offsets of its rules in the table `filter`."""
    return {
        offset
        for offset, entry in table.by_offset()
        if xtables.comment_of(family, entry).startswith(COUNTER)
        or not xtables.sets_of(family, entry).isdisjoint(numbers)
    }
