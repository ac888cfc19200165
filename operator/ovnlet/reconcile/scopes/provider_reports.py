"""What users see of provider networks: Events, and the Node's labels and reasons."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from ovnlet.core.underlay.networks import (
    ERROR,
    EXCLUDE,
    INTERFACE,
    MTU,
    READY,
    Intent,
    Wanted,
    label,
)
from ovnlet.core.underlay.record import Record

Kind = Literal["Normal", "Warning"]
Labels = frozenset[tuple[str, str]]
# Characters of a reason on the Node.
_LONGEST = 400


class ProviderReports:
    """Reports each thing once.

    ``event(network, kind, reason, message)`` makes an Event on the ProviderNetwork and on the Node.
    ``labels`` gets all labels and annotations that the Node should have, ``mtu`` returns that of a
    NIC in bytes. ``mtus`` are those that the labels have, by network.
    """

    def __init__(
        self,
        event: Callable[[str, Kind, str, str], None],
        labels: Callable[[Labels], None],
        mtu: Callable[[str], int],
    ) -> None:
        self._event, self._labels, self._mtu = event, labels, mtu
        self._wanted: Wanted | None = None
        self._refused: dict[str, str] = {}
        self._leased: dict[str, str] = {}
        self._records: tuple[Record, ...] = ()
        self.mtus: Mapping[str, int] = {}

    def wanted(self, wanted: Wanted) -> None:
        """Take what all networks want of this node. Report those that are refused."""
        self._wanted = wanted
        for network, why in wanted.refused.items():
            self.refused(network, why)

    def refused(self, network: str, why: str) -> None:
        """Report why the NIC is not moved, once until the reason is another."""
        if self._refused.get(network) != why:
            self._refused[network] = why
            self._event(network, "Warning", "UplinkNotMoved", why)
            self.show(self._records)

    def why(self, network: str) -> str:
        """Return why the network is not on this node, or not yet; empty if it is."""
        wanted, known = self._wanted, {each.intent.network: each for each in self._records}
        if wanted is None:
            return "its ProviderNetwork is not known yet"
        if network in wanted.excluded:
            return "its ProviderNetwork excludes this node"
        if (record := known.get(network)) is not None and record.phase == "settled":
            return ""
        if network not in {**wanted.intents, **wanted.refused}:
            return "there is no such ProviderNetwork"
        return self._reason(network) or "its interface is not in the bridge yet"

    def _reason(self, network: str) -> str:
        """Return why a network that wants this node failed or was refused; empty if it did not."""
        record = next((each for each in self._records if each.intent.network == network), None)
        if record is not None and record.phase != "held":
            return ""
        return record.why if record is not None else self._refused.get(network, "")

    def moved(self, intent: Intent) -> None:
        """Report a move that was proved."""
        self._refused.pop(intent.network, None)
        self._event(
            intent.network,
            "Normal",
            "UplinkMoved",
            f"{intent.nic} and its addresses are in the bridge {intent.bridge}",
        )

    def went_back(self, intent: Intent, why: str, *, again: bool) -> None:
        """Report that everything is on the NIC again, and when the move is tried again."""
        when = "when the API server answers" if again else "when the ProviderNetwork changes"
        text = f"{why}: everything is on {intent.nic} again; tried again {when}"
        self._event(intent.network, "Warning", "UplinkWentBack", text)

    def leased(self, record: Record) -> None:
        """Report once that addresses of a settled move have a DHCP client on the interface."""
        intent = record.intent
        texts = ", ".join(each.text for each in record.found.entries if each.lease)
        if texts and self._leased.get(intent.network) != texts:
            self._leased[intent.network] = texts
            text = (
                f"{texts} by DHCP: what the client sets on {intent.nic} moves to {intent.bridge}; "
                "without a renewal in time everything goes back"
            )
            self._event(intent.network, "Normal", "UplinkLeased", text)

    def removed(self, intent: Intent) -> None:
        """Report that the NIC has everything again because nothing wants it in a bridge."""
        self._refused.pop(intent.network, None)
        text = f"{intent.nic} has its addresses again; {intent.bridge} does not use it any more"
        self._event(intent.network, "Normal", "UplinkReturned", text)

    def show(self, records: Iterable[Record]) -> None:
        """Set the labels and the reasons; none before all networks are known."""
        self._records = tuple(records)
        if self._wanted is None:
            return
        found = {(label(name, EXCLUDE), "true") for name in self._wanted.excluded}
        for name in (*self._wanted.intents, *self._wanted.refused):
            if why := self._reason(name):
                found.add((label(name, ERROR), why[:_LONGEST]))
        nics = {r.intent.network: r.intent.nic for r in self._records if r.phase == "settled"}
        self.mtus = {network: mtu for network, nic in nics.items() if (mtu := self._mtu(nic))}
        for network, nic in nics.items():
            found |= {(label(network, READY), "true"), (label(network, INTERFACE), nic)}
        found |= {(label(network, MTU), str(mtu)) for network, mtu in self.mtus.items()}
        self._labels(frozenset(found))
