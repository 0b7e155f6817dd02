"""Logs for people on a terminal, JSON for programs. No message body is ever logged."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Log to standard error from `level` on: standard output belongs to a command's answer."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    human = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # aiormq writes a returned message, body and all, to its log.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
