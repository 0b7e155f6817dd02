"""What the AMQP driver's errors mean. Nothing here quotes a URL or a body."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelNotFoundEntity,
    ConnectionClosed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from shared.adapters.certificate import mistrust
from shared.adapters.refusal import queue_full, unroutable
from shared.errors import BusUnavailable, VaultError
from shared.ports import Outgoing

UNREACHABLE: Final = "RabbitMQ cannot be reached"


class DriverFailed(Exception):
    """A connection or a channel did not do what was asked."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


@contextmanager
def driver() -> Iterator[None]:
    """Whatever the driver raises within, as DriverFailed; the caller's own cancellation as itself.

    The driver cancels the pending futures of a lost connection, so a CancelledError alone says nothing.
    """
    try:
        yield
    except (*CONNECTION_EXCEPTIONS, asyncio.CancelledError) as error:
        if given_up(error):
            raise
        raise DriverFailed(error) from error


def given_up(error: BaseException) -> bool:
    """The running task itself was cancelled, rather than a future that it waits for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def publish_failure(error: BaseException, message: Outgoing) -> VaultError:
    """The vault's name for what became of a publish."""
    if isinstance(error, PublishError) or _lacks_exchange(error, message):
        return unroutable(message.exchange, message.routing_key)
    if isinstance(error, DeliveryError):
        return queue_full(message.routing_key)
    return BusUnavailable(
        f"The broker has not confirmed a message for {message.routing_key!r} ({type(error).__name__}). "
        "Check DISPENSER_BROKER_URL and that RabbitMQ is up."
    )


def outage_reason(error: BaseException | None) -> str:
    """Why there is no connection, for a person to act on."""
    if (untrusted := mistrust(error)) is not None:
        return f"RabbitMQ is not believed: {untrusted}"
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return "RabbitMQ refused the user or the password: check DISPENSER_BROKER_URL"
    if isinstance(error, InvalidFrameError):
        # The driver keeps the text of a refusal that comes late in the handshake to itself.
        return "RabbitMQ refused the virtual host: check that it exists and that the user may open it"
    if isinstance(error, ConnectionClosed):
        return f"RabbitMQ closed the connection: {error.args[-1]}"
    return UNREACHABLE


def _lacks_exchange(error: BaseException, message: Outgoing) -> bool:
    # A missing exchange closes the channel under everybody: only the message that named it is unroutable.
    return isinstance(error, ChannelNotFoundEntity) and f"exchange '{message.exchange}'" in str(error)
