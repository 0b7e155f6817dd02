"""Logs for people on a terminal, JSON for programs. No message body is ever logged.

The level is for the vault's own lines. Libraries tell of trouble alone, at every level: at `debug` theirs
would show frames, statements' parameters and headers.
"""

import logging
import sys
import threading
from traceback import format_exception
from types import TracebackType
from typing import Any

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.redaction import redacted


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The whole line, its traceback included, without secrets."""
        return redacted(super().format(record))


def configure(level: str) -> None:
    """Log to standard error from `level` on: standard output belongs to a command's answer."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    human = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
            *_renderers(human=human),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _keep_libraries_quiet()
    sys.excepthook = _last_words
    threading.excepthook = lambda ended: _last_words(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _renderers(*, human: bool) -> tuple[Processor, ...]:
    # Neither shows local variables, as structlog's own choice for terminals does.
    if human:
        return (ConsoleRenderer(exception_formatter=plain_traceback), _without_secrets)
    return (structlog.processors.format_exc_info, JSONRenderer(default=_described), _without_secrets)


def _without_secrets(_: WrappedLogger, __: str, line: str | EventDict) -> str:
    return redacted(str(line))


def _described(value: Any) -> str:
    """A value that JSON has no form for. Bytes may be a message's body."""
    return f"{len(value)} bytes" if isinstance(value, bytes | bytearray | memoryview) else repr(value)


def _keep_libraries_quiet() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # aiormq writes a returned message, body and all, to its log.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def _last_words(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """The traceback of what nobody caught."""
    sys.stderr.write(redacted("".join(format_exception(kind, error, trace))))
