"""Set-up of the logs: one line per outcome, as text for people or as JSON.

The lines of libraries have the same form.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

from ovnlet.core.settings import ControllerSettings, Settings


def configure(settings: Settings | ControllerSettings, tail: logging.Handler | None = None) -> None:
    """Send structlog and standard logging to standard error, in the format that is set.

    ``tail`` also gets every line, as JSON.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    final: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    if settings.log_format == "json":
        final = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(shared, final))
    if tail is not None:
        tail.setFormatter(_formatter(shared, structlog.processors.JSONRenderer()))
    root = logging.getLogger()
    root.handlers = [handler, *([tail] if tail is not None else [])]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("asyncio").filters[:] = [OncePerSecond()]
    for name in ("kopf", "aiohttp.access", "asyncio", "kubernetes"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


class OncePerSecond(logging.Filter):
    """Drop a line that was logged within the last second.

    asyncio tries to accept as many connections as the socket's backlog holds, in one go. Without a
    descriptor left it logs a traceback for each attempt: 128 a second.
    """

    def __init__(self) -> None:
        """Begin with no line logged."""
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record, by the time at which it was created."""
        text = record.getMessage()
        if 0 <= record.created - self._last.get(text, 0.0) < 1.0:
            return False
        self._last = {text: record.created}
        return True


def _formatter(shared: list[Processor], final: Processor) -> logging.Formatter:
    """Return a formatter that renders our lines and those of libraries with ``final``."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            final,
        ],
    )
