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
    for name in ("kopf", "aiohttp.access", "asyncio", "kubernetes"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


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
