import logging
from typing import Any, Final

#: What the supervisor says itself, once for each outage and not once for each attempt.
_SAID_ALREADY: Final = (
    "error when creating transport",
    "Unexpected connection close from remote",
    "Cancelling cause reader exited abnormally",
)
_LOGGERS: Final = ("aiormq", "aiormq.connection", "aiormq.channel")


class Bodiless(logging.Filter):
    """Keeps bodies and secrets out of the driver's log, which prints frames and returned messages whole."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg.startswith(_SAID_ALREADY):
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(_harmless(argument) for argument in record.args)
        # A traceback's last line may quote a frame.
        record.exc_info = None
        return True


def keep_bodies_out_of_the_log() -> None:
    """Idempotent, and stays: filters belong to loggers, which live as long as the process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, Bodiless) for known in logger.filters):
            logger.addFilter(Bodiless())


def _harmless(argument: Any) -> Any:
    return argument if isinstance(argument, int | float) else type(argument).__name__
