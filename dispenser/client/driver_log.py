"""Keeps secrets out of the log that the RabbitMQ driver writes in an agent's program, whatever its level."""

import logging
from typing import Any, Final

#: They print frames whole, at debug level and in trouble: logins, requests, replies.
_LOGGERS: Final = ("aiormq.connection", "aiormq.channel")


class Frameless(logging.Filter):
    """Names what a line is about by its kind alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_kind(argument) for argument in record.args)
        record.exc_info = None  # its last line may quote a frame
        return True


def keep_frames_out_of_the_log() -> None:
    """Idempotent: filters belong to loggers, which live as long as the process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, Frameless) for known in logger.filters):
            logger.addFilter(Frameless())


def _kind(argument: Any) -> Any:
    return argument if isinstance(argument, int | float) else type(argument).__name__
