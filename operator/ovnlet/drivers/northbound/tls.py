"""The TLS context for a connection to the northbound database."""

import ssl
from pathlib import Path

from ovnlet.core.errors import NotReady
from ovnlet.core.settings import ControllerSettings


def tls(settings: ControllerSettings) -> ssl.SSLContext | None:
    """Return the context for ``ovn_nb``, or None if no remote in it is ``ssl:``.

    It presents a client certificate. It trusts a server by the CA alone, whatever name is in the
    server's certificate. Raise NotReady if a setting is missing or a file cannot be used.
    """
    if "ssl:" not in settings.ovn_nb:
        return None
    if not (settings.ovn_key and settings.ovn_cert and settings.ovn_ca):
        raise NotReady("ovn_nb is ssl: and needs ovn_key, ovn_cert and ovn_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=Path(settings.ovn_ca).read_text())
        context.load_cert_chain(settings.ovn_cert, settings.ovn_key)
    except OSError as error:  # ssl.SSLError is one too
        raise NotReady(f"the keys for ovn_nb cannot be used: {error}") from error
    return context
