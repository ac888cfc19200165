"""The removal takes its finalizer from a Subnet and loses none that somebody adds meanwhile."""

from collections.abc import Mapping
from typing import Any, cast

from ovnlet.controller import removal
from ovnlet.controller.subnets import FINALIZER
from ovnlet.kube.session import ApiFault

OTHER = "other.io/hold"


class Server:
    """One Subnet; somebody adds a finalizer between the first read and the write."""

    def __init__(self) -> None:
        self.finalizers, self.version, self.reads = [FINALIZER], 1, 0

    async def get(self, path: str) -> dict[str, Any]:
        assert path.endswith("/blue")
        version, held = str(self.version), list(self.finalizers)
        self.reads += 1
        if self.reads == 1:
            self.finalizers.append(OTHER)
            self.version += 1
        return {"metadata": {"uid": "1", "resourceVersion": version, "finalizers": held}}

    async def patch(self, path: str, body: Mapping[str, Any]) -> bool:
        meta = body["metadata"]
        if meta.get("resourceVersion", str(self.version)) != str(self.version):
            raise ApiFault(f"PATCH {path}: conflict", 409)
        self.finalizers = list(meta["finalizers"])
        return True


async def test_a_finalizer_added_meanwhile_is_kept() -> None:
    server, said = Server(), list[str]()
    await removal._release(cast(removal._Api, server), "blue", said.append)
    assert (server.finalizers, said) == ([OTHER], ["released the Subnet blue"])
