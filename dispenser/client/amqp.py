"""The way to the vault over RabbitMQ: keeps one link up, and asks on it."""

import asyncio
import logging
import random
from typing import Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed

from dispenser.client import amqp_link
from dispenser.client.amqp_link import Link
from dispenser.client.amqp_login import login
from dispenser.client.certificate import mistrust
from dispenser.client.credential import Credential
from dispenser.client.door import Door
from dispenser.client.driver_log import keep_frames_out_of_the_log
from dispenser.client.errors import Unauthenticated, Unroutable, VaultError, VaultUnreachable
from dispenser.client.retry import CONNECTION_CAP_SECONDS, backoff_seconds
from dispenser.client.tasks import Tasks
from dispenser.protocol import Call, Reply

#: A link that lasted this long was a good one: the next attempt does not wait for what failed before it.
_STEADY_SECONDS: Final = 5.0
_REFUSED: Final = (
    AuthenticationError,
    ProbableAuthenticationError,
    ConnectionNotAllowed,
    ChannelAccessRefused,
)

_log = logging.getLogger(__name__)


class AmqpTransport:
    """Reconnects with jittered backoff, everything anew; requests wait for a link until their deadline."""

    def __init__(self, door: Door) -> None:
        self._url = door.url
        self._credential = door.credential
        self._key = door.key
        self._authority = door.authority
        self._tasks = Tasks()
        self._link: asyncio.Future[Link]
        self._trouble: VaultError = VaultUnreachable("It has not answered yet.")
        self._was_up = False

    async def open(self) -> None:
        keep_frames_out_of_the_log()
        self._link = asyncio.get_running_loop().create_future()
        self._tasks.start(self._supervise())

    async def close(self) -> None:
        await self._tasks.cancel()

    async def ask(self, call: Call, *, deadline: float) -> Reply:
        # Shielded: the link is everybody's, and outlives a caller who gives up.
        link = self._link.result() if self._link.done() else await asyncio.shield(self._link)
        return await link.ask(call, deadline=deadline)

    def trouble(self) -> VaultError | None:
        if self._link.done():
            return None
        return VaultUnreachable(f"There is no connection to RabbitMQ. {self._trouble}")

    async def adopt(self, credential: Credential) -> None:
        self._credential = credential
        if self._link.done() and not self._link.exception():
            await self._link.result().adopt(credential)

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            up_seconds = await self._hold_one()
            attempt = 0 if up_seconds > _STEADY_SECONDS else attempt + 1
            await asyncio.sleep(
                backoff_seconds(attempt, cap_seconds=CONNECTION_CAP_SECONDS, entropy=random.random())  # noqa: S311 - jitter
            )

    async def _hold_one(self) -> float:
        """Seconds for which a link was up, when it is down again."""
        clock = asyncio.get_running_loop().time
        try:
            link = await amqp_link.opened(
                login(self._url, self._credential), self._credential, self._key, self._authority
            )
        except CONNECTION_EXCEPTIONS as error:
            self._failed(error)
            return 0.0
        since = clock()
        self._was_up = True
        self._link.set_result(link)
        try:
            await link.lost.wait()
        finally:
            self._link = asyncio.get_running_loop().create_future()
            await link.close()
        _log.warning("The connection to RabbitMQ was lost; connecting again")
        return clock() - since

    def _failed(self, error: BaseException) -> None:
        self._trouble = _trouble(error)
        _log.warning("No connection to RabbitMQ: %s", self._trouble)
        if self._was_up or self._trouble.retryable:
            return
        # Never yet connected, and the broker said no: a mistake that is better told now than at the deadline.
        self._link.set_exception(self._trouble)
        self._link.exception()  # seen, even if nobody waits
        self._link = asyncio.get_running_loop().create_future()


def _trouble(error: BaseException) -> VaultError:
    if (untrusted := mistrust(error)) is not None:
        return untrusted
    if isinstance(error, _REFUSED):
        return Unauthenticated(
            "RabbitMQ refused the login. Check the user, the password and the virtual host in VAULT_URL,"
            " and the user's permissions; without a user there, the vault token is the password."
        )
    if isinstance(error, ChannelNotFoundEntity):
        return Unroutable(str(Unroutable.__doc__))
    return VaultUnreachable(f"{type(error).__name__}. Check VAULT_URL and that RabbitMQ is up.")
