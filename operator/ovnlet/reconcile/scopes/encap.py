"""The scope of the addresses of this node's tunnels, the one owner of their two keys.

With ``follows_node`` they follow from the Node. Beside Kube-OVN its agent writes them, and so must
an agent in its place. Otherwise OVSDB decides: what is there is kept, as other keys of the chassis.
"""

from collections.abc import Iterator
from typing import Protocol

from ovnlet.core.encap import ALL, DEFAULT, EncapIdentity, Links, Sources, desired, kept, unusable
from ovnlet.core.resources import ABSENT, ChassisId, Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.scope import Host, Key
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class EncapHost(Host, Protocol):
    """The two keys, and the node's addresses. ``drivers.ovs.encap`` implements it."""

    def present(self) -> dict[str, str]:
        """Return the keys that are set."""
        ...

    def links(self) -> Links:
        """Return the addresses of each link of the node. Raise NodeFault."""
        ...


class Follower(Protocol):
    """The kernel's notifications of addresses. ``drivers.watch.kernel`` implements it."""

    def follow_addresses(self, key: Key) -> None:
        """Hint this key when an address of a link of the node comes or goes."""
        ...


class EncapScope(NodeWideScope[EncapIdentity]):
    """One key. ``given`` and ``interface`` are settings; the Node's annotations override both."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: EncapHost,
        inputs: InputFile,
        passes: Passes,
        status: Status,
        *,
        follows_node: bool,
        watch: Follower,
        given: str = "",
        interface: str = "",
        repair: Repair = "fix",
    ) -> None:
        super().__init__(EncapIdentity(), status)
        self.host, self._inputs, self._passes, self._repair = host, inputs, passes, repair
        self._given, self._interface = given, interface
        self._follows_node, self._watch = follows_node, watch
        self._sources: Sources | None = None
        self._kept = dict(inputs.read())

    def put(
        self,
        interface: str,
        networks: str,
        internal: tuple[str, ...],
        declared: tuple[str, ...] = (),
    ) -> None:
        """Take what the Node says, and ask for a pass if that is new."""
        interface = interface or self._interface
        sources = Sources(declared, self._given, interface, networks, internal)
        if sources != self._sources:
            self._sources = sources
            self._passes.add(self.only)

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> str | None:
        """Return what is waited for while the Node decides and no address is known."""
        if not self._follows_node or self.wanted(self.only):
            return None
        return "no address of this node is known for tunnels"

    def target(self, _: str, /) -> Target | None:
        """Return the keys, with notices; None while none is known: what is there stays."""
        if not (wanted := self.wanted(self.only)) and self._follows_node:
            return None
        text = unusable(self._sources, self.host.links()) if self._sources else ""
        notices = (Notice("EncapAddressUnusable", text),) if text else ()
        return Target(self.identity, wanted, self._repair, notices=notices)

    def wanted(self, _: str, /) -> Network:
        """Return the keys. What is set is adopted if it can be right, else what was set last.

        Until the Node is known, it is just what was set last: the Node may list further addresses.
        """
        present, links = self.host.present(), self.host.links()
        if not self._follows_node:
            sources = self._sources or Sources(given=self._given)
            return kept(sources, links, {**self._kept, **present})
        last = self._kept.get(DEFAULT, "")
        known = {address for each in links.values() for address in each}
        if self._sources is None:
            before = (ChassisId(name, value) for name, value in self._kept.items())
            return frozenset(before) if last in known else ABSENT
        trials = (present.get(ALL, "").partition(",")[0].strip(), last)
        return desired(self._sources, links, next((each for each in trials if each in known), ""))

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Remember the addresses, follow those of the node, and report the outcome."""
        self._watch.follow_addresses(self._passes.key(own))
        keys = {each.name: each.value for each in outcome.desired if isinstance(each, ChassisId)}
        if keys != self._kept:
            self._kept = keys
            self._inputs.write(keys)
        await super().settled(own, outcome)
