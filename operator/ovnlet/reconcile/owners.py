"""An index of the names on the node by which a notification finds the key that it is a hint for.

Names are pairs of a kind and a text: ``("port", "abc_h")``, ``("mark", "abc/eth0")``,
``("file", "/etc/cni/net.d")``. A scope registers the names of its keys, and the drivers'
notifications are looked up here alone.
"""

from collections.abc import Callable, Iterable

from ovnlet.reconcile.scope import Key

Name = tuple[str, str]


class OwnerIndex:
    """Owners by name. ``hint`` is called with each key that owns a name of a notification."""

    def __init__(self, hint: Callable[[Key], None]) -> None:
        self._hint = hint
        self._owners: dict[Name, Key] = {}
        self._names: dict[Key, frozenset[Name]] = {}

    def register(self, key: Key, names: Iterable[Name]) -> None:
        """Make ``key`` the owner of these names alone. The last to register a name owns it."""
        self.forget(key)
        self._names[key] = frozenset(names)
        for name in self._names[key]:
            self._owners[name] = key

    def forget(self, key: Key) -> None:
        """Drop the names of a key, but those that another key has registered since."""
        for name in self._names.pop(key, ()):
            if self._owners.get(name) == key:
                del self._owners[name]

    def notify(self, *names: Name) -> None:
        """Hint each key that owns one of the names, once."""
        for key in dict.fromkeys(self._owners[name] for name in names if name in self._owners):
            self._hint(key)
