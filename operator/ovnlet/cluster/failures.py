"""What a connection to the API server can raise, in the words of a person."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ovnlet.core.errors import NotReady

# Of the library websocket-client.
_APART = " -+-+- "


def broken() -> tuple[type[Exception], ...]:
    """Return what a connection that breaks can raise, beside the client's ApiException."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415
    from websocket import WebSocketException  # noqa: PLC0415

    return HTTPError, WebSocketException, OSError


@contextmanager
def as_not_ready() -> Iterator[None]:
    """Raise NotReady in place of whatever a connection that breaks raises."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        raise NotReady(reason(error)) from error
    except broken() as error:
        raise NotReady(f"the connection broke: {words(error)}") from error


def reason(error: Any) -> str:
    """Return the API server's own message, in one line, of the client's ApiException.

    That of a WebSocket that was refused has status, headers and body in one text.
    """
    status, _, rest = str(error.reason or error.status).partition(_APART)
    body = error.body or rest.rpartition(_APART)[2].removeprefix("b'").removesuffix("'")
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        lines = status.splitlines()
        return lines[0] if lines else "no answer"


def words(error: BaseException) -> str:
    """Return why a connection failed, without the classes of Python that the libraries put in.

    The operating system's own error is at the end of their chain.
    """
    *_, error = _chain(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS: {error.reason}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def unusable(error: Exception) -> str:
    """Return why a kubeconfig cannot be used, for whatever the client raises as it reads one."""
    from urllib3.exceptions import MaxRetryError  # noqa: PLC0415

    if isinstance(error, (TypeError, AttributeError, LookupError)):
        return "the file is no kubeconfig"
    why = " ".join(words(error).split())
    pools = [each.pool for each in _chain(error) if isinstance(each, MaxRetryError)]
    where = "".join(f"{pool.host}:{pool.port}: " for pool in pools)
    if isinstance(error, OSError) and error.filename:
        where = f"{error.filename}: "
    return f"the kubeconfig cannot be used: {where}{why}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the one that it wraps, and so on."""
    while error:
        yield error
        error = _inside(error)


def _inside(error: BaseException) -> BaseException | None:
    """Return the error that another one wraps."""
    wrapped = (getattr(error, "reason", None), error.__cause__, *error.args)
    return next((each for each in wrapped if isinstance(each, BaseException)), None)
