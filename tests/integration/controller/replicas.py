"""Replicas of the controller, run as a Deployment would run them."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from testbed.bed import Bed

SYSTEM = "ovnlet-system"


@dataclass
class Replicas:
    """Controller processes by name, with their logs in the test's directory.

    ``kill`` ends one without notice, as a power loss would.
    """

    bed: Bed
    directory: Path
    token: str
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        """The northbound database's unix socket."""
        assert self.bed.control is not None
        return self.bed.control.path("/run/ovn/ovnnb_db.sock")

    def start(
        self, name: str = "a", program: str = "", **settings: object
    ) -> subprocess.Popen[bytes]:
        """Start a replica, or with ``program`` other Python code with its arguments."""
        given = {
            "identity": name,
            "kubeconfig": self._kubeconfig(),
            "ovn-nb": f"unix:{self.database}",
            "listen": "127.0.0.1:0",
            "cool-down": 1,
            "lease-seconds": 3,
            **{key.replace("_", "-"): value for key, value in settings.items()},
        }
        words = [
            sys.executable,
            *(("-c", program) if program else ("-m", "ovnlet")),
            "controller",
            *(f"--{key}={value}" for key, value in given.items()),
        ]
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.running[name]

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def logged(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.directory.glob("*.log")))

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def send(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _kubeconfig(self) -> Path:
        path = self.directory / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bed",
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "controller"}}],
            "clusters": [
                {
                    "name": "bed",
                    "cluster": {
                        "server": self.bed.api_url,
                        "certificate-authority": str(self.bed.ids.ca),
                    },
                }
            ],
            "users": [{"name": "controller", "user": {"token": self.token}}],
        }
        path.write_text(json.dumps(content))
        return path
