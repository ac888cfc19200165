"""Credentials: read from a kubeconfig or a service account, or refused with a reason."""

import base64
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ovnlet.kube.session import Access, ApiFault, BadCredentials, tls

SERVER = "https://192.0.2.1:6443"
OPENSSL = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
    " -subj /CN=unit -keyout key -out crt"
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    subprocess.run(OPENSSL.split(), cwd=folder, check=True, capture_output=True)
    return folder


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> str:
    path = folder / "kubeconfig"
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [
            {"name": "other", "cluster": {}},
            {"name": "k", "cluster": {"server": SERVER, **cluster}},
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(content))
    return str(path)


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_certificates_inline(pki: Path, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": data(pki / "crt")}
    user = {"client-certificate-data": data(pki / "crt"), "client-key-data": data(pki / "key")}
    credentials = Access(kubeconfig(tmp_path, cluster, user)).read()
    assert (credentials.server, credentials.token) == (SERVER, None)
    assert credentials.certificate
    assert "PRIVATE KEY" in credentials.certificate
    assert tls(credentials).verify_mode is ssl.CERT_REQUIRED


def test_files_named_relative_to_the_kubeconfig(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes((pki / "crt").read_bytes())
    (tmp_path / "secret").write_text("t0ken\n")
    path = kubeconfig(tmp_path, {"certificate-authority": "ca"}, {"tokenFile": "secret"})
    assert Access(path).read().token == (tmp_path / "secret").read_text().strip()
    assert Access(path, server="https://[2001:db8::1]:443/").server == "https://[2001:db8::1]:443"


@pytest.mark.parametrize(
    ("host", "server"),
    [("192.0.2.7", "https://192.0.2.7:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_the_service_account_of_a_pod(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, server: str
) -> None:
    (tmp_path / "ca.crt").write_bytes((pki / "crt").read_bytes())
    (tmp_path / "token").write_text("t0ken")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BadCredentials, match="KUBERNETES_SERVICE_HOST"):
        Access(account=tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    assert Access(account=tmp_path).server == server


@pytest.mark.parametrize(
    ("cluster", "user", "word"),
    [
        ({"server": "http://192.0.2.1"}, {"token": "t"}, "https"),
        ({"certificate-authority": "/nonexistent/ca"}, {"token": "t"}, "nonexistent"),
        ({"certificate-authority-data": "%%%"}, {"token": "t"}, "certificate-authority-data"),
        ({"certificate-authority-data": "aGVsbG8="}, {"token": "t"}, "certificates"),
        ({}, {"token": "t"}, "certificate-authority"),
        ({}, {"exec": {"command": "aws"}}, "plugin"),
    ],
)
def test_what_cannot_be_used_is_refused_at_start(
    cluster: dict[str, Any], user: dict[str, Any], word: str, tmp_path: Path
) -> None:
    with pytest.raises(BadCredentials, match=word):
        Access(kubeconfig(tmp_path, cluster, user))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "a: b", ": :", '{"current-context": "x", "contexts": []}', "\0"]
)
def test_no_kubeconfig_at_all(text: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(BadCredentials):
        Access(str(tmp_path / "kubeconfig"))


async def test_credentials_that_vanish_later_are_waited_for(pki: Path, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"certificate-authority": str(pki / "crt")}, {"token": "t"})
    access = Access(path)
    Path(path).unlink()
    with pytest.raises(ApiFault, match="kubeconfig"):
        access.session()
