"""The only exception of this package, with the CNI specification's codes and error object."""

import json
from enum import IntEnum

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST_VERSION = SUPPORTED_VERSIONS[-1]


class Code(IntEnum):
    """CNI error codes.

    1 to 99 are the specification's. 999 is what Go's CNI library uses for an internal error.
    """

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    # For the runtime this means that no DEL is needed. Raise it only after the ADD has cleaned up.
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


_TEMPORARY = frozenset({Code.TRY_AGAIN, Code.UNAVAILABLE, Code.LIMITED})
_SERVER_ERRORS = frozenset({Code.IO_FAILURE, Code.INTERNAL})


class CniError(Exception):
    """A request that fails. ``message`` says what is wrong, ``details`` what to do about it."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        """Create the error that answers a request."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer.

        The plugin only checks whether it is 200. The others are for people with curl.
        """
        if self.code in _TEMPORARY:
            return 503
        return 500 if self.code in _SERVER_ERRORS else 400

    def render(self, version: str = NEWEST_VERSION) -> bytes:
        """Return the specification's error object, as the plugin prints it on stdout."""
        shown = version if version in SUPPORTED_VERSIONS else NEWEST_VERSION
        body = {
            "cniVersion": shown,
            "code": int(self.code),
            "msg": self.message,
            "details": self.details,
        }
        return json.dumps(body).encode() + b"\n"


class UnknownProvider(CniError):
    """A network whose addresses nothing in the cluster gives."""

    def __init__(self, message: str, details: str = "") -> None:
        """Create the error."""
        super().__init__(Code.INVALID_CONFIG, message, details)
