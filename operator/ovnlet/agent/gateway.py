"""The node as a gateway: its scope with what that needs."""

from pathlib import Path

from ovnlet.core.settings import Settings
from ovnlet.drivers.links.gateway import GatewayLinks
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.gateway import GatewayScope
from ovnlet.reconcile.status import Status


class Gateway:
    """The scope `gateway`, kept by the loop, and its file."""

    def __init__(self, settings: Settings, loop: Loop, status: Status, watch: Watch) -> None:
        self.links = GatewayLinks(Tables())
        file = JsonFile(Path(settings.run_dir) / "gateway.json")
        self.restore = file.restore
        self.scope = GatewayScope(
            self.links,
            file,
            loop.passes("gateway"),
            status,
            watch=watch,
            no_snat=settings.untranslated,
            repair=settings.repair,
        )
