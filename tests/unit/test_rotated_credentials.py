"""A session that outlives its credentials: a leading controller keeps one for weeks (E11)."""

import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ovnlet.kube.session import Access

pytestmark = pytest.mark.review2

MAKE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
    " -addext subjectAltName=IP:127.0.0.1 -subj /CN={name} -keyout {name}.key -out {name}.crt"
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a directory with a server's, two clients' and another server's certificate."""
    for name in ("server", "old", "new", "successor"):
        words = MAKE.format(name=name).split()
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
async def server(keys: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Yield URL and context of a server that answers with the name in the client's certificate."""

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        ((pair,),) = request.transport.get_extra_info("peercert")["subject"]
        return web.Response(text=pair[1], headers={"Connection": "close"})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "server.crt", keys / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    for name in ("old", "new"):
        context.load_verify_locations(keys / f"{name}.crt")
    app = web.Application()
    app.add_routes([web.get("/", who)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}", context
    await runner.cleanup()


def name_client(keys: Path, client: str) -> None:
    """Write the client's certificate and key under the names in the kubeconfig, by a rename."""
    for kind in ("crt", "key"):
        (keys / "draft").write_bytes((keys / f"{client}.{kind}").read_bytes())
        os.replace(keys / "draft", keys / f"client.{kind}")


def write_kubeconfig(keys: Path, url: str) -> str:
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": url, "certificate-authority": "ca.crt"}}],
        "users": [
            {"name": "u", "user": {"client-certificate": "client.crt", "client-key": "client.key"}}
        ],
    }
    (keys / "kubeconfig").write_text(json.dumps(content))
    return str(keys / "kubeconfig")


async def ask(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as answer:
        return await answer.text()


async def test_e11_new_connections_of_a_session_use_the_new_certificate(
    keys: Path, server: tuple[str, ssl.SSLContext]
) -> None:
    """The kubeconfig itself does not change when kubelet or cert-manager renews a file."""
    url, _ = server
    (keys / "ca.crt").write_bytes((keys / "server.crt").read_bytes())
    name_client(keys, "old")
    async with Access(write_kubeconfig(keys, url)).session() as http:
        assert await ask(http, url) == "old"
        name_client(keys, "new")
        assert await ask(http, url) == "new"


async def test_e11_a_ca_that_succeeds_the_old_one_is_trusted(
    keys: Path, server: tuple[str, ssl.SSLContext]
) -> None:
    url, context = server
    (keys / "ca.crt").write_bytes((keys / "server.crt").read_bytes())
    name_client(keys, "old")
    async with Access(write_kubeconfig(keys, url)).session() as http:
        assert await ask(http, url) == "old"
        context.load_cert_chain(keys / "successor.crt", keys / "successor.key")
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(http, url)
        (keys / "draft").write_bytes((keys / "successor.crt").read_bytes())
        os.replace(keys / "draft", keys / "ca.crt")
        assert await ask(http, url) == "old"


async def test_e11_half_a_rotation_is_an_attempt_that_fails(
    keys: Path, server: tuple[str, ssl.SSLContext]
) -> None:
    """Certificate and key are two files: between two renames they do not fit."""
    url, _ = server
    (keys / "ca.crt").write_bytes((keys / "server.crt").read_bytes())
    name_client(keys, "old")
    async with Access(write_kubeconfig(keys, url)).session() as http:
        assert await ask(http, url) == "old"
        (keys / "client.crt").write_bytes((keys / "new.crt").read_bytes())
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(http, url)
        name_client(keys, "new")
        assert await ask(http, url) == "new"
