"""Running pods whose port does not exist, as after a wipe of the database: they come first.

OVN must not choose an address while a running pod lacks the port that its annotations name: OVN
could choose that pod's address.
"""

from ovnlet.controller.context import ControllerContext, Key
from ovnlet.controller.networks import PodNetworks
from ovnlet.core.errors import Taken
from ovnlet.core.ipam import claims
from ovnlet.core.ipam.claims import Owner, Workload
from ovnlet.core.ipam.reservations import Reservations


class Missing:
    """The pods that lack a port, by its key, and the passes that are deferred until none does.

    The addresses that their annotations state are reserved, so that no wish is granted them.
    """

    def __init__(
        self, context: ControllerContext, reserved: Reservations, networks: PodNetworks
    ) -> None:
        self._context, self._reserved, self._networks = context, reserved, networks
        self._owners: set[Owner] = set()
        self._deferred: set[Key] = set()

    @property
    def owners(self) -> frozenset[Owner]:
        """The keys of running pods whose annotated port does not exist."""
        return frozenset(self._owners)

    def check_all(self) -> None:
        """Look at every pod: for each new session and each resync."""
        self._owners.clear()
        for claim in self._networks.every():
            self.check(claim.key)

    def check(self, key: Owner) -> None:
        """Note whether a running pod lacks the port that its annotations name."""
        if not self._context.northbound.connected:  # check_all does it after a reconnect
            return
        pod = self._networks.claim(key)
        if pod is None or not self._lacks_port(pod):
            self._owners.discard(key)
            return
        self._owners.add(key)
        words = claims.annotated_words(pod)
        if pod.port not in self._reserved and not any(
            self._reserved.holder(word, pod.port) for word in words
        ):
            self._reserved.hold(pod.port, words)

    def _lacks_port(self, pod: Workload) -> bool:
        # A pod that is not scheduled may have annotations that were copied from another one.
        if pod.finished or not pod.node or pod.value("allocated") != "true":
            return False
        try:
            return self._context.northbound.port(pod.port) is None
        except Taken:  # nothing can be restored in the place of a foreign port
            return False

    def found(self, key: Owner) -> None:
        """Note that a pod has its port, or needs none; continue what waits for it."""
        self._owners.discard(key)
        self.resume()

    def may_allocate(self, key: Key) -> bool:
        """Return whether OVN may choose an address now; if not, defer this pass.

        The pass itself cannot restore its port: its pod is not waited for any more.
        """
        self._owners.discard(key[1:])
        if self._owners:
            self._deferred.add(key)
            return False
        return True

    def resume(self) -> None:
        """Request the deferred passes once no port is missing."""
        if not self._owners:
            deferred, self._deferred = self._deferred, set()
            for key in deferred:
                self._context.add(key)
