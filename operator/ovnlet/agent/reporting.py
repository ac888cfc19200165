"""Reports of outcomes: to the agent's event log, and as an Event on the pod or on the Node."""

from collections.abc import Callable
from typing import Literal

from ovnlet.agent.event_log import EventLog
from ovnlet.core.identity import Attachment, Identity
from ovnlet.kube.events import Recorder
from ovnlet.kube.objects import OwnNode
from ovnlet.reconcile.state import State

Kind = Literal["Normal", "Warning"]


class PodReporter:
    """Implements ``reconcile.status.Record`` for attachments."""

    def __init__(self, event_log: EventLog, recorder: Recorder, state: State) -> None:
        self._event_log, self._recorder, self._state = event_log, recorder, state

    def __call__(self, identity: Identity, kind: Kind, reason: str, message: str, /) -> None:
        """Report on the pod that the attachment was made for, and on no other of its name."""
        self._event_log.record(*identity.called, kind, reason, message)
        pod = self._state.get(identity.called)
        uid = identity.uid if isinstance(identity, Attachment) else None
        if pod is not None and uid in (None, pod.uid):
            self._recorder.record(pod, kind, reason, message)


class NodeReporter:
    """Implements ``reconcile.status.Record`` for the node's own keys.

    ``subject`` returns the Node, None while it is not known.
    """

    def __init__(
        self, event_log: EventLog, recorder: Recorder, subject: Callable[[], OwnNode | None]
    ) -> None:
        self._event_log, self._recorder, self._subject = event_log, recorder, subject

    def __call__(self, identity: Identity, kind: Kind, reason: str, message: str, /) -> None:
        """Report on the Node."""
        self._event_log.record(*identity.called, kind, reason, message)
        if (node := self._subject()) is not None:
            self._recorder.record(node, kind, reason, message)
