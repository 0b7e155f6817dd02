"""What the AMQP driver's errors mean. Nothing here quotes a URL or a body."""

import asyncio
from typing import Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelNotFoundEntity,
    ConnectionClosed,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)

from shared.adapters.refusal import queue_full, unroutable
from shared.errors import BusUnavailable, VaultError
from shared.ports import Outgoing

#: All that the driver raises when a connection or a channel does not do what was asked. A pending future of
#: a lost connection is cancelled rather than failed: see `given_up`.
DRIVER_FAILURES: Final = (*CONNECTION_EXCEPTIONS, asyncio.CancelledError)
_NOT_ALLOWED: Final = 530


def given_up(error: BaseException) -> bool:
    """The caller itself was cancelled, rather than the driver's future beneath it."""
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
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return "RabbitMQ refused the user or the password: check DISPENSER_BROKER_URL"
    if isinstance(error, ConnectionClosed) and error.args[:1] == (_NOT_ALLOWED,):
        return f"RabbitMQ refused the virtual host: {error.args[1]}"
    return "RabbitMQ cannot be reached"


def _lacks_exchange(error: BaseException, message: Outgoing) -> bool:
    # A missing exchange closes the channel under everybody: only the message that named it is unroutable.
    return isinstance(error, ChannelNotFoundEntity) and f"exchange '{message.exchange}'" in str(error)
