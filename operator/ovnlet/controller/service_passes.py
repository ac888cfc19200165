"""The passes of Services, and the stores of API objects that feed them."""

from typing import Any

from ovnlet.controller.context import ControllerContext
from ovnlet.controller.services import Services, SliceIndex
from ovnlet.core.services import ServiceObject
from ovnlet.kube import services as kinds
from ovnlet.kube.object_store import Store


def service_passes(context: ControllerContext) -> tuple[Services, list[Store[Any]]]:
    """Return the passes of Services, and the stores of Services and of EndpointSlices.

    There is a store for each version of EndpointSlices. A cluster that lacks a version answers 404,
    which leaves that store incomplete.
    """
    newer, older = indexes = SliceIndex(context.add), SliceIndex(context.add)

    def changed(was: ServiceObject | None, now: ServiceObject | None) -> None:
        passes.changed(was, now)

    listed = Store(kinds.SERVICES, kinds.service, changed)
    slices = [
        Store(kinds.SLICES, kinds.endpoint_slice, newer.changed, newer.complete),
        Store(kinds.OLDER_SLICES, kinds.endpoint_slice, older.changed, older.complete),
    ]
    passes = Services(context, listed, listed.complete, indexes)
    return passes, [listed, *slices]
