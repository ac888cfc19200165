"""The one exception of this room, with the codes of the CNI specification and its error object."""

import json
from enum import IntEnum

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST_VERSION = SUPPORTED_VERSIONS[-1]


class Code(IntEnum):
    """Error codes 1-99 are the specification's; 999 is what Go's library calls an internal error."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    # The runtime takes this one as "needs no DEL": only to be raised after the ADD has cleaned up after itself.
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN = 11
    UNAVAILABLE = 50
    LIMITED = 51
    INTERNAL = 999


_LATER = frozenset({Code.TRY_AGAIN, Code.UNAVAILABLE, Code.LIMITED})
_OURS = frozenset({Code.IO_FAILURE, Code.INTERNAL})


class CniError(Exception):
    """A request that ends without success: what is wrong (message), and what to do about it (details)."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def http_status(self) -> int:
        """The answer's HTTP status; the plugin only asks whether it is 200, people with curl see the kind."""
        if self.code in _LATER:
            return 503
        return 500 if self.code in _OURS else 400

    def render(self, version: str = NEWEST_VERSION) -> bytes:
        """The specification's error object, as it stands on the plugin's stdout."""
        shown = version if version in SUPPORTED_VERSIONS else NEWEST_VERSION
        body = {
            "cniVersion": shown,
            "code": int(self.code),
            "msg": self.message,
            "details": self.details,
        }
        return json.dumps(body).encode() + b"\n"
