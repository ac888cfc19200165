"""Logs: one line per outcome, for people or as JSON; libraries' own lines come out the same way."""

import logging
import sys

import structlog
from structlog.typing import Processor

from ovnlet.core.settings import ControllerSettings, Settings


def configure(settings: Settings | ControllerSettings, tail: logging.Handler | None = None) -> None:
    """Send structlog and the standard library's logging to standard error in the asked form."""
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
    for chatty in ("kopf", "aiohttp.access", "asyncio", "kubernetes"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


def _formatter(shared: list[Processor], final: Processor) -> logging.Formatter:
    """Return the formatter that ends each line with ``final``, for our own lines and for libraries' alike."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            final,
        ],
    )
