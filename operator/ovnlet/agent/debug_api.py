"""What the agent knows and sees, for people: routes on its own socket, in JSON. All but `apply` only read.

``ovnlet pods``, ``show``, ``plan`` and ``apply`` ask here; so can curl.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from aiohttp import web

from ovnlet.core import annotations, values
from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import AttachmentKey, Record
from ovnlet.core.plan import diff
from ovnlet.core.resources import Network, Resource
from ovnlet.reconcile.loop import Host, Outcome, Reconciler, Records
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.scopes.node import NodeNic
from ovnlet.reconcile.status import Status

Json = dict[str, Any]


class DebugApi:
    """Looks as CHECK does: one observation an attachment, no step, no API call."""

    def __init__(  # noqa: PLR0913 - the loop's parts, named at the one place that wires them
        self,
        *,
        host: Host,
        records: Records,
        reconciler: Reconciler,
        status: Status,
        queue: Queue[AttachmentKey, Outcome | None],
        nic: NodeNic,
    ) -> None:
        self._nic = nic
        self._host, self._records, self._reconciler, self._status = (
            host,
            records,
            reconciler,
            status,
        )
        self._queue = queue

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/attachments", self._attachments),
            web.get("/v1/attachments/{namespace}/{pod}", self._attachment),
            web.get("/v1/plan", self._plan),
            web.post("/v1/apply/{namespace}/{pod}", self._apply),
        ]

    async def _attachments(self, _: web.Request) -> web.Response:
        return web.json_response([self._summary(record) for record in self._sorted()])

    async def _attachment(self, request: web.Request) -> web.Response:
        shown = [
            {**self._summary(record), **await self._look(record)}
            for record in self._of(request.match_info["namespace"], request.match_info["pod"])
        ]
        return web.json_response(shown, status=200 if shown else 404)

    async def _plan(self, request: web.Request) -> web.Response:
        pod = request.query.get("pod")
        chosen = self._of(*pod.partition("/")[::2]) if pod else self._sorted()
        plans = [
            {**self._name(record), **await self._look(record, steps_only=True)} for record in chosen
        ]
        return web.json_response(plans, status=200 if plans or not pod else 404)

    async def _apply(self, request: web.Request) -> web.Response:
        """A pass that acts, as an edit makes one: what drifted is repaired whatever the settings say of drift."""
        records = self._of(request.match_info["namespace"], request.match_info["pod"])
        told = [{**self._name(record), **await self._pass(record)} for record in records]
        return web.json_response(told, status=200 if told else 404)

    async def _pass(self, record: Record) -> Json:
        key = record.attachment.key
        if record.attachment.is_node:
            self._nic.ask()
        else:
            self._reconciler.ask(key)
        try:
            outcome = await self._queue.run(key)
        except OvnletError as error:
            return {"error": str(error), "steps": [], "left": []}
        steps, left = (outcome.steps, outcome.left) if outcome else ((), ())
        return {"steps": [str(step) for step in steps], "left": [str(step) for step in left]}

    def _sorted(self) -> list[Record]:
        """The node's own interface, called `node/ovn0`, then those of pods."""
        pods = sorted(
            self._records, key=lambda record: (record.attachment.owner, record.attachment.sequence)
        )
        return [*([self._nic.record] if self._nic.record else []), *pods]

    def _of(self, namespace: str, pod: str) -> list[Record]:
        return [record for record in self._sorted() if record.attachment.called == (namespace, pod)]

    @staticmethod
    def _name(record: Record) -> Json:
        attachment = record.attachment
        namespace, pod = attachment.called
        names = ("container_id", "ifname", "netns", "uid")
        return {
            "namespace": namespace,
            "pod": pod,
            **{name: getattr(attachment, name) for name in names},
        }

    def _summary(self, record: Record) -> Json:
        attachment = record.attachment
        state, problems = self._status.state(attachment.key)
        if self._reconciler.leaving(attachment.key):
            state = "leaving"
        elif record.good is None:
            state = f"waiting: {self._reconciler.awaits(attachment) or 'for its first pass'}"
        ips = values.split(
            (record.good or {}).get(annotations.key(attachment.provider, "ip_address"), "")
        )
        return {**self._name(record), "ips": ",".join(ips), "state": state, "problems": problems}

    async def _look(self, record: Record, *, steps_only: bool = False) -> Json:
        try:
            own = record.attachment.is_node
            desired = self._nic.desired() if own else self._reconciler.desired(record)[0]
            observed = await self._host.observe(record.attachment, desired)
        except OvnletError as error:
            return {"error": str(error), "steps": []}
        steps = {"steps": [str(step) for step in diff(desired, observed)]}
        return (
            steps if steps_only else {**steps, "resources": list(_side_by_side(desired, observed))}
        )


def _side_by_side(desired: Network, observed: Network) -> Iterable[Json]:
    wanted, seen = ({r.key: r for r in network} for network in (desired, observed))
    for key in sorted(wanted.keys() | seen.keys(), key=str):
        kind = type(wanted.get(key) or seen.get(key)).__name__
        yield {"kind": kind, "desired": _facts(wanted.get(key)), "observed": _facts(seen.get(key))}


def _facts(resource: Resource | None) -> Json | None:
    """A value as words; where it lies within its veth goes without saying."""
    if resource is None:
        return None
    return {f.name: _plain(getattr(resource, f.name)) for f in fields(resource) if f.name != "veth"}


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return dict(sorted(value))
    return value if isinstance(value, bool | int | str | None) else str(value)
