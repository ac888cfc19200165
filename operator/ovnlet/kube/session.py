"""Sessions with the API server: its address, the CA to trust, and our credentials.

A session is opened for one purpose and closed after it, so that each one starts with the credential
files as they are now.
"""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

from ovnlet.core.errors import NotReady, OvnletError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_TIMEOUT, TOTAL_TIMEOUT = 3, 30  # seconds


class BadCredentials(OvnletError):
    """The administrator must act: the kubeconfig or the service account cannot be used."""


class ApiFault(NotReady):
    """The API server did not do what it was asked to. ``status`` is 0 if it did not answer."""

    def __init__(self, what: str, status: int = 0) -> None:
        self.status = status
        super().__init__(what)


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: no answer, overload, or a token about to be renewed."""
    return isinstance(error, ApiFault) and (
        error.status in (0, 401, 408, 429) or error.status >= 500
    )


@dataclass(frozen=True, slots=True)
class Credentials:
    """Server address and credentials.

    ``ca`` and ``certificate`` (our own, with its key) are PEM text. ``files`` are those that they
    were read from.
    """

    server: str
    ca: str
    token: str | None = None
    certificate: str | None = None
    files: tuple[Path, ...] = ()


class Access:
    """Opens sessions with the credentials of a kubeconfig or, without one, of the service account.

    ``server`` overrides the address. ``counted`` is called in any thread with method and status of
    each request, status 0 if it has no answer. The constructor raises BadCredentials if the
    credentials cannot be used now.
    """

    def __init__(
        self,
        kubeconfig: str | None = None,
        *,
        server: str | None = None,
        account: Path = SERVICE_ACCOUNT,
        counted: Callable[[str, int], None] = lambda _method, _status: None,
    ) -> None:
        self._counted = counted
        self._kubeconfig = Path(kubeconfig) if kubeconfig else None
        self._account = account
        credentials = self.read()
        tls(credentials)
        self.server = (server or credentials.server).rstrip("/")
        if not self.server:
            raise BadCredentials(
                "no kubeconfig is given and KUBERNETES_SERVICE_HOST is not set: not in a pod"
            )

    def read(self) -> Credentials:
        """Return the credentials as the files have them now. Raises BadCredentials."""
        try:
            return (
                from_kubeconfig(self._kubeconfig)
                if self._kubeconfig
                else from_account(self._account)
            )
        except (OSError, ValueError, KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
            raise BadCredentials(
                f"{self._kubeconfig or self._account}: {type(error).__name__}: {error}"
            ) from error

    def session(self, *middlewares: ClientMiddlewareType) -> aiohttp.ClientSession:
        """Return a new session, which the caller closes.

        Raises ApiFault if the credentials cannot be read: they were good at the start, so a retry
        may help.
        """
        try:
            context = tls(self.read())
        except BadCredentials as error:
            raise ApiFault(str(error)) from error
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"User-Agent": "ovnlet"},
            timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            middlewares=(self._identify(context), *middlewares, self._count),
        )

    async def _count(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Count a request once its answer begins, as a middleware."""
        status = 0
        try:
            answer = await handler(request)
            status = answer.status
        finally:
            self._counted(request.method, status)
        return answer

    def _identify(self, context: ssl.SSLContext) -> ClientMiddlewareType:
        """Return a middleware that puts the token on each request.

        It reads the credentials again when one of their files has changed: kubelet renews the token
        every hour. A new certificate of ours serves the connections that are opened from then on.
        """
        files: tuple[Path, ...] = ()
        seen: list[tuple[int, int]] = []
        token = ""

        async def identify(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            nonlocal files, seen, token
            try:
                if not files or _stamps(files) != seen:
                    credentials = self.read()
                    stamps = _stamps(credentials.files)
                    # Trust a CA that has succeeded the old one, too.
                    _load(context, credentials)
                    files, seen, token = credentials.files, stamps, credentials.token or ""
            except (OSError, BadCredentials) as error:  # kopf retries after this class
                raise aiohttp.ClientConnectionError(f"no credentials: {error}") from error
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return await handler(request)

        return identify


async def call(http: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Any:
    """Send one request and return its JSON answer. Raises ApiFault for every failure."""
    what = f"{method} {url.partition('?')[0]}"
    try:
        async with http.request(method, url, **options) as answer:
            if not answer.ok:
                text = (await answer.text(errors="replace"))[:300]
                raise ApiFault(f"{what}: {answer.status} {answer.reason}: {text}", answer.status)
            return await answer.json()
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        raise ApiFault(f"{what}: {type(error).__name__}: {error}") from error


def tls(credentials: Credentials) -> ssl.SSLContext:
    """Return a context that trusts the cluster's CA only. Raises BadCredentials."""
    try:
        context = ssl.create_default_context(cadata=credentials.ca)
        _load(context, credentials)
    except (OSError, ValueError) as error:
        raise BadCredentials(f"certificates: {error}") from error
    # Python 3.13 sets this flag by default; the CAs of many clusters lack the extensions it wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Trust the CA, and present the certificate from now on. Raises OSError (SSLError is one)."""
    context.load_verify_locations(cadata=credentials.ca)
    if credentials.certificate:  # the ssl module loads it from files only
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(credentials.certificate.encode())
            context.load_cert_chain(file.name)


def _stamps(files: Iterable[Path]) -> list[tuple[int, int]]:
    """Return what changes when one of the files does. Raises OSError."""
    return [(status.st_mtime_ns, status.st_ino) for status in (path.stat() for path in files)]


def from_account(directory: Path) -> Credentials:
    """Return the credentials of a pod's service account. Raises OSError.

    The address comes from the environment; it is empty outside of a pod.
    """
    host, port = (
        environ.get("KUBERNETES_SERVICE_HOST", ""),
        environ.get("KUBERNETES_SERVICE_PORT", "443"),
    )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}" if host else ""
    ca, token = directory / "ca.crt", directory / "token"
    return Credentials(server, ca.read_text(), token.read_text().strip(), files=(token, ca))


def from_kubeconfig(path: Path) -> Credentials:
    """Return the credentials of the current context of a kubeconfig.

    Raises OSError, KeyError, TypeError, ValueError, StopIteration or YAMLError if the file does not
    have them or names a credential plugin.
    """
    config = yaml.safe_load(path.read_text())
    context = _named(config, "context", config["current-context"])
    cluster = _named(config, "cluster", context["cluster"])
    user = _named(config, "user", context["user"])
    if not str(cluster["server"]).startswith("https://"):
        raise ValueError(f"server {cluster['server']!r} is not https://")
    if "exec" in user or "auth-provider" in user:
        raise ValueError(
            "credential plugins are not supported: use a token or a client certificate"
        )
    token = user.get("token")
    if "tokenFile" in user:
        token = (path.parent / user["tokenFile"]).read_text().strip()
    certificate = None
    if "client-certificate" in user or "client-certificate-data" in user:
        certificate = _pem(path, user, "client-certificate") + "\n" + _pem(path, user, "client-key")
    named = (
        entry[key]
        for entry, keys in (
            (cluster, ("certificate-authority",)),
            (user, ("client-certificate", "client-key", "tokenFile")),
        )
        for key in keys
        if key in entry
    )
    ca = _pem(path, cluster, "certificate-authority")
    files = (path, *(path.parent / str(each) for each in named))
    return Credentials(cluster["server"], ca, token, certificate, files)


def _named(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """Return the entry ``name`` of the list ``kind``s. Raises StopIteration if there is none."""
    found: dict[str, Any] = next(
        entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name
    )
    return found


def _pem(path: Path, entry: Mapping[str, Any], name: str) -> str:
    """Return PEM text that is inline or in a file, whose path may be relative to the kubeconfig."""
    if f"{name}-data" in entry:
        try:
            return base64.b64decode(entry[f"{name}-data"], validate=True).decode()
        except binascii.Error as error:
            raise ValueError(f"{name}-data: {error}") from error
    return (path.parent / str(entry[name])).read_text()
