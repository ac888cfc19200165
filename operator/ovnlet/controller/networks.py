"""The claims of all pods: one for each network of a pod, found by its key."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ovnlet.controller.context import ControllerContext, Key
from ovnlet.controller.keys import owner_of
from ovnlet.core.annotations import key as annotation
from ovnlet.core.ipam import machines, networks, published
from ovnlet.core.ipam.address_requests import named_pool
from ovnlet.core.ipam.claims import (
    MACHINE_KEY,
    MACHINE_LABEL,
    PROVIDER,
    WORKLOAD_LABEL,
    Claim,
    NodeClaim,
    Owner,
    StatefulSet,
    Workload,
)
from ovnlet.core.ipam.definitions import Definition
from ovnlet.core.ipam.machines import VirtualMachine
from ovnlet.core.ipam.networks import Claims
from ovnlet.core.resources.northbound import SwitchPort

# Seconds until definitions are listed again that a pod waits for.
UNKNOWN_RETRY = 5.0
# What may keep the port of a pod that is gone, until the next one comes.
Keeper = StatefulSet | VirtualMachine


class PodNetworks:
    """What pods claim, by the networks that they list and their definitions."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._launch: dict[Owner, set[str]] = {}  # pods by namespace and key of a machine
        self._reported: dict[Owner, tuple[tuple[str, str], ...]] = {}

    def of(self, pod: Workload) -> Claims:
        """Return the claims of a pod.

        Where a pod's own network is another plugin's, only one that has an allocation of it keeps
        its claim: it was attached before.
        """
        found = networks.claims(pod, self._context.definitions.get)
        if self._context.settings.pod_network == "primary":
            return found
        kept = {
            provider: claim
            for provider, claim in found.by_provider.items()
            if provider != PROVIDER or claim.value("allocated") == "true"
        }
        return replace(found, by_provider=kept)

    def pod(self, key: Owner) -> Workload | None:
        """Return the pod that a key belongs to, or a virtual machine's pods as one; or None."""
        name = key[1].partition("/")[0]
        if not name.startswith(MACHINE_KEY):
            return self._context.pods.get((key[0], name))
        return machines.merged(self._launching(key[0], name))

    def launchers(self, claim: Claim) -> list[Claim]:
        """Return the claim, or of a virtual machine those of the pods that launch it."""
        if isinstance(claim, NodeClaim) or not claim.machine:
            return [claim]
        pods = self._launching(claim.namespace, f"{MACHINE_KEY}{claim.machine}")
        every = (self.of(pod).by_provider.get(claim.provider) for pod in pods if not pod.finished)
        return [each for each in every if each is not None]

    def noted(self, was: Workload | None, now: Workload | None) -> None:
        """Note which pods launch which virtual machine.

        With a first launcher KubeVirt's kinds are there, also where they were not before.
        """
        if was is None and now is not None and now.machine:
            self._context.look_for_machines()
        for pod in filter(None, (was, now)):
            if pod.machine:
                names = self._launch.setdefault((pod.namespace, pod.key[1]), set())
                (names.add if pod is now else names.discard)(pod.name)

    def placed(self, claim: Workload) -> Workload:
        """Return the claim with the chassis that its nodes name, as far as they are known."""
        nodes = claim.nodes or (claim.node,)
        found = [self._context.nodes.get(("", node)) for node in nodes]
        named = [each.chassis if each is not None else "" for each in found]
        chosen = [chassis or node for chassis, node in zip(named, nodes, strict=True)]
        return replace(claim, chassis=",".join(chosen) if any(named) else "")

    def _launching(self, namespace: str, machine: str) -> list[Workload]:
        names = sorted(self._launch.get((namespace, machine), ()))
        pods = (self._context.pods.get((namespace, name)) for name in names)
        return [pod for pod in pods if pod is not None]

    def claim(self, key: Owner) -> Workload | None:
        """Return the claim of a key; None without the pod, or where the pod does not list it."""
        pod = self.pod(key)
        if pod is None:
            return None
        return self.of(pod).by_provider.get(key[1].partition("/")[2] or PROVIDER)

    def every(self) -> Iterator[Workload]:
        """Yield every claim of every pod."""
        for pod in self._context.pods:
            yield from self.of(pod).by_provider.values()

    def keys(self, was: Workload | None, now: Workload | None) -> list[Owner]:
        """Return the keys of a pod that was created, changed or deleted: of all its claims."""
        found = [
            key
            for pod in (was, now)
            if pod is not None
            for key in (pod.key, *(claim.key for claim in self.of(pod).by_provider.values()))
        ]
        return list(dict.fromkeys(found))

    def request(self, which: Callable[[Workload], bool]) -> None:
        """Request the passes of the claims that ``which`` selects, and of every pod's own key."""
        for pod in self._context.pods:
            for claim in (pod, *self.of(pod).by_provider.values()):
                if which(claim):
                    self._context.add(("pod", *claim.key))

    def of_pool(self, name: str) -> None:
        """Request the passes of the claims that ask for an IPPool."""
        self.request(lambda claim: named_pool(claim) == name)

    def defined(self, was: Definition | None, now: Definition | None) -> None:
        """Request the passes of the pods that list a changed definition by its name."""
        name = (now or was or Definition("", "", "")).name
        for pod in self._context.pods:
            if name in pod.networks or name in pod.default_network:
                for key in self.keys(None, pod):
                    self._context.add(("pod", *key))

    def problems(self, key: Owner) -> list[tuple[Workload, str, str]]:
        """Return a pod with reason and message of what it lists in vain; by its own key only.

        The same problems are returned once.
        """
        pod = self.pod(key) if "/" not in key[1] else None
        if pod is None or pod.finished or not pod.node:
            self._reported.pop(key, None)
            return []
        found, before = self.of(pod).problems, self._reported.pop(key, ())
        if found:
            self._reported[key] = found
        if any(reason == networks.UNKNOWN for reason, _ in found):
            # The kind may have been installed after this program began.
            self._context.list_definitions()
            self._context.later(UNKNOWN_RETRY, ("pod", *key))
        return [(pod, *problem) for problem in found if problem not in before]

    def keeps(self, key: Key, port: SwitchPort) -> bool:
        """Return whether the port waits for its pod to come back, which gets the same addresses.

        That of a StatefulSet comes under its name, that of a VirtualMachine has the same port. A
        pod that is there and has not ended lists this network no more.
        """
        pod = self.pod(key[1:])
        if machine := port.label(MACHINE_LABEL):
            stopped = pod is None or pod.finished
            return stopped and self._context.machines.get((key[1], machine)) is not None
        name = port.label(WORKLOAD_LABEL)
        if not name or pod is not None:
            return False
        owner = self._context.stateful_sets.get((key[1], name))
        return owner is not None and owner.wants(key[2].partition("/")[0])

    def keeper_changed(self, label: str, keeper: Owner) -> None:
        """Request the passes of the ports that have an object's name in ``label``.

        A StatefulSet with fewer replicas and a VirtualMachine that is deleted release addresses.
        """
        for port in self._context.northbound.every_port():
            key = owner_of(port)
            if (key[1], port.label(label)) == keeper:
                self._context.add(key)

    def withdrawn(self, key: Owner) -> list[tuple[Workload, dict[str, None]]]:
        """Return running pods with the annotations of a network that they list no more."""
        provider = key[1].partition("/")[2]
        pod = self.pod(key) if provider else None
        if pod is None or provider in self.of(pod).by_provider:
            return []
        names = {annotation(provider, name) for name in published.PUBLISHED}
        pods = self._launching(key[0], pod.key[1]) if pod.machine else [pod]
        found = [(each, dict.fromkeys(sorted(names & each.annotations.keys()))) for each in pods]
        return [(each, ours) for each, ours in found if ours]
