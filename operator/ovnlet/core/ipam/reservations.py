"""Which port has an address or a MAC, or is about to get it: here wishes are decided.

The database alone cannot tell: between a pass that chooses an address and the row that shows it,
another pass may choose the same. So every pass reserves before it writes.
"""

from collections.abc import Iterable


class Reservations:
    """Addresses and MACs, as text, by the port that they are reserved for.

    A reservation lasts until the port is gone. An address is reserved for one port at a time.
    """

    def __init__(self) -> None:
        self._words: dict[str, frozenset[str]] = {}  # by port
        self._holders: dict[str, str] = {}

    def __contains__(self, port: str) -> bool:
        """Return whether anything is reserved for the port."""
        return port in self._words

    def holder(self, word: str, besides: str) -> str | None:
        """Return the port that an address or a MAC is reserved for, or None.

        The port ``besides`` does not count.
        """
        port = self._holders.get(word)
        return port if port != besides else None

    def hold(self, port: str, words: Iterable[str]) -> frozenset[str]:
        """Reserve these words, and no others, for the port. Return those that this releases.

        A word that is reserved for another port stays that one's.
        """
        before = self._words.pop(port, frozenset())
        wanted = frozenset(w for w in words if self._holders.get(w, port) == port)
        for word in before - wanted:
            del self._holders[word]
        for word in wanted:
            self._holders[word] = port
        if wanted:
            self._words[port] = wanted
        return before - wanted

    def release(self, port: str) -> frozenset[str]:
        """Reserve nothing for the port any more. Return what was reserved."""
        return self.hold(port, ())
