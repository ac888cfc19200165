"""The northbound database over TLS: it works with a client certificate of its CA, and only then."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.client import Northbound
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.startup import free_ports

SCHEMA = "/usr/share/ovn/ovn-nb.ovsschema"


@pytest.fixture
def remote(bed: Bed, tmp_path: Path) -> Iterator[str]:
    """Start a northbound database that accepts TLS only, and yield its remote."""
    keys, port = bed.ids.directory, free_ports()[0]
    database = tmp_path / "nb.db"
    subprocess.run(["ovsdb-tool", "create", database, SCHEMA], check=True)
    identity = [
        f"--private-key={keys}/server.key",
        f"--certificate={keys}/server.crt",
        f"--ca-cert={keys}/ca.crt",
    ]
    words = [
        "ovsdb-server",
        str(database),
        f"--remote=pssl:{port}:127.0.0.1",
        f"--unixctl={tmp_path}/ctl",
        *identity,
    ]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for((tmp_path / "ctl").exists, "the server")
        yield f"ssl:127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def northbound(remote: str, key: Path, certificate: Path, ca: Path) -> Northbound:
    files = {"ovn_key": str(key), "ovn_cert": str(certificate), "ovn_ca": str(ca)}
    settings = ControllerSettings.of({"identity": "a", "ovn_nb": remote, **files})
    return Northbound(settings, lambda _name, _switch: None, lambda: None, lambda _service: None)


def self_signed(directory: Path, name: str) -> None:
    """Write the key `k` and the certificate `c` of an authority that nobody trusts."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-noenc"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", f"/CN={name}", "-keyout", directory / "k", "-out", directory / "c"),
        ],
        check=True,
        capture_output=True,
    )


async def test_with_a_certificate_of_its_ca(bed: Bed, remote: str) -> None:
    keys = bed.ids.directory
    database = northbound(remote, keys / "server.key", keys / "server.crt", bed.ids.ca)
    database.start()
    async with asyncio.timeout(20):
        await database.ready()
    assert list(database.every_port()) == []
    await database.close()


async def test_with_an_untrusted_certificate(bed: Bed, remote: str, tmp_path: Path) -> None:
    self_signed(tmp_path, "untrusted")
    database = northbound(remote, tmp_path / "k", tmp_path / "c", bed.ids.ca)
    database.start()
    await asyncio.to_thread(wait_for, lambda: "failed" in database.fault, "a refusal")
    assert not database.connected
    await database.close()


async def test_a_server_of_another_ca_is_not_believed(
    bed: Bed, remote: str, tmp_path: Path
) -> None:
    self_signed(tmp_path, "other")
    keys = bed.ids.directory
    database = northbound(remote, keys / "server.key", keys / "server.crt", tmp_path / "c")
    database.start()
    await asyncio.to_thread(wait_for, lambda: "certificate" in database.fault.lower(), "a refusal")
    assert not database.connected
    await database.close()


@pytest.mark.review2
async def test_e5_renewed_keys_are_used_at_the_next_connection(
    bed: Bed, remote: str, tmp_path: Path
) -> None:
    """The files are replaced while the client runs, as kubelet does with those of a Secret."""
    self_signed(tmp_path, "expired")
    database = northbound(remote, tmp_path / "k", tmp_path / "c", bed.ids.ca)
    database.start()
    await asyncio.to_thread(wait_for, lambda: "failed" in database.fault, "a refusal")
    keys = bed.ids.directory
    for old, new in ((tmp_path / "k", "server.key"), (tmp_path / "c", "server.crt")):
        renewed = tmp_path / new
        renewed.write_bytes((keys / new).read_bytes())
        renewed.rename(old)
    async with asyncio.timeout(20):
        await database.ready()
    await database.close()
