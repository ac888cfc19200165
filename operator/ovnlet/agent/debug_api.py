"""Routes on the agent's own socket, in JSON, that show what it knows and observes.

All but `apply` only read. ``ovnlet pods``, ``show``, ``plan`` and ``apply`` use them; so can curl.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from aiohttp import web

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Attachment, Identity, NodeInterface, Record
from ovnlet.core.plan import diff
from ovnlet.core.resources import Network, Resource
from ovnlet.drivers.links import interference
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.pod import PodScope

Json = dict[str, Any]


class DebugApi:
    """Observes as CHECK does: once for each key, with no step and no call to the API server."""

    def __init__(self, loop: Loop, records: Records, pods: PodScope) -> None:
        self._loop, self._records, self._pods = loop, records, pods

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the agent's socket."""
        return [
            web.get("/v1/attachments", self._attachments),
            web.get("/v1/attachments/{namespace}/{pod}", self._attachment),
            web.get("/v1/plan", self._plan),
            web.post("/v1/apply/{namespace}/{pod}", self._apply),
        ]

    async def _attachments(self, _: web.Request) -> web.Response:
        """List every key that has an interface; of the node, that is `node/ovn0` alone."""
        shown = [
            each for each in self._sorted() if isinstance(each.identity, Attachment | NodeInterface)
        ]
        return web.json_response([self._summary(each) for each in shown])

    async def _attachment(self, request: web.Request) -> web.Response:
        """Show each attachment of a pod, with what is desired and what is observed."""
        found = self._of(request.match_info["namespace"], request.match_info["pod"])
        shown = [
            {**self._summary(each), **await self._look(each), "interference": _beside(each)}
            for each in found
        ]
        return web.json_response(shown, status=200 if shown else 404)

    async def _plan(self, request: web.Request) -> web.Response:
        """Plan one pod, or all of the node (`node=1`), or everything."""
        pod = request.query.get("pod")
        chosen = self._of(*pod.partition("/")[::2]) if pod else self._sorted()
        if "node" in request.query:
            chosen = [each for each in chosen if each.identity.called[0] == "node"]
        plans = [{**_names(each), **await self._look(each, steps_only=True)} for each in chosen]
        return web.json_response(plans, status=200 if plans or not pod else 404)

    async def _apply(self, request: web.Request) -> web.Response:
        """Run a pass that acts, as an edit does: it repairs drift whatever the settings say."""
        found = self._of(request.match_info["namespace"], request.match_info["pod"])
        results = [{**_names(each), **await self._pass(each)} for each in found]
        return web.json_response(results, status=200 if results else 404)

    async def _pass(self, shown: "_Shown") -> Json:
        """Run a forced pass and return its steps, or its error."""
        self._loop.force(shown.key)
        try:
            outcome = await self._loop.queue.run(shown.key)
        except OvnletError as error:
            return {"error": str(error), "steps": [], "left": []}
        steps, left = (outcome.steps, outcome.remaining) if outcome else ((), ())
        return {"steps": [str(step) for step in steps], "left": [str(step) for step in left]}

    def _sorted(self) -> list["_Shown"]:
        """Return the node's own keys, such as `node/ovn0`, then the attachments of pods."""
        records = sorted(
            self._records, key=lambda each: (each.attachment.owner, each.attachment.sequence)
        )
        pods = [
            _Shown(self._pods.loop_key(each.attachment.key), each.attachment, each)
            for each in records
        ]
        shown = {each.key for each in pods}
        others = [key for key in self._loop.every_key() if key not in shown]
        nodes = [_Shown(key, self._loop.scope_of(key).identity_of(key.own)) for key in others]
        return [*sorted(nodes, key=lambda each: each.identity.called[1] != "ovn0"), *pods]

    def _of(self, namespace: str, pod: str) -> list["_Shown"]:
        return [each for each in self._sorted() if each.identity.called == (namespace, pod)]

    def _summary(self, shown: "_Shown") -> Json:
        scope = self._loop.scope_of(shown.key)
        state, problems = scope.status.state(shown.key.own)
        record = shown.record
        if reason := self._loop.queue.throttled(shown.key):
            state = f"throttled: {reason}"
        if record and self._pods.is_deleted(record.attachment.key):
            state = "leaving"
        elif record and record.good is None:
            state = f"waiting: {scope.missing_inputs(shown.key.own) or 'for its first pass'}"
        return {
            **_names(shown),
            "ips": scope.addresses(shown.key.own),
            "state": state,
            "problems": problems,
        }

    async def _look(self, shown: "_Shown", *, steps_only: bool = False) -> Json:
        """Return the plan, and unless ``steps_only``, each resource as desired and as observed."""
        scope = self._loop.scope_of(shown.key)
        try:
            desired = scope.wanted(shown.key.own)
            observed = await scope.host.observe(shown.identity, desired)
        except OvnletError as error:
            return {"error": str(error), "steps": []}
        steps = {"steps": [str(step) for step in diff(desired, observed)]}
        if steps_only:
            return steps
        return {**steps, "resources": list(_side_by_side(desired, observed))}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A key with its identity; ``record`` is None for what is not an attachment."""

    key: Key
    identity: Identity
    record: Record | None = None


def _beside(shown: _Shown) -> list[str]:
    """Return what is not ours and may keep traffic from it."""
    identity = shown.identity
    if not isinstance(identity, Attachment | NodeInterface):
        return []
    try:
        return [each.what for each in interference.observe(identity.netns, identity.ifname)]
    except (OvnletError, OSError) as error:
        return [f"cannot be looked at: {error}"]


def _names(shown: _Shown) -> Json:
    namespace, pod = shown.identity.called
    container_id, ifname = shown.identity.key
    attachment = shown.record.attachment if shown.record else None
    return {
        "namespace": namespace,
        "pod": pod,
        "container_id": container_id,
        "ifname": ifname,
        "netns": attachment.netns if attachment else "",
        "uid": attachment.uid if attachment else None,
        "provider": attachment.provider if attachment else "",
        "port": attachment.iface_id if attachment else "",
    }


def _side_by_side(desired: Network, observed: Network) -> Iterable[Json]:
    """Yield each resource that is desired, observed or both."""
    wanted, seen = ({r.key: r for r in network} for network in (desired, observed))
    for key in sorted(wanted.keys() | seen.keys(), key=str):
        kind = type(wanted.get(key) or seen.get(key)).__name__
        yield {"kind": kind, "desired": _facts(wanted.get(key)), "observed": _facts(seen.get(key))}


def _facts(resource: Resource | None) -> Json | None:
    """Return a resource's fields for JSON, without the veth that it lies within."""
    if resource is None:
        return None
    return {f.name: _plain(getattr(resource, f.name)) for f in fields(resource) if f.name != "veth"}


def _plain(value: object) -> object:
    """Return a value that JSON has; text for all others."""
    if isinstance(value, frozenset):
        return dict(sorted(value))
    return value if isinstance(value, bool | int | str | None) else str(value)
