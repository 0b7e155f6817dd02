import asyncio
import contextlib
import random
from typing import Final

import structlog
from aio_pika import Connection
from aio_pika.abc import AbstractChannel
from yarl import URL

from dispenser.amqp.line import Line, connected
from shared.adapters.amqp_direct_channel import DirectChannel
from shared.adapters.amqp_failure import UNREACHABLE, DriverFailed, driver, outage_reason
from shared.adapters.backoff import backoff_seconds
from shared.ending import end
from shared.errors import ConfigurationError

_CONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 3.0
_HEARTBEAT_SECONDS: Final = 30
#: A connection that held this long was a good one: the next outage starts from the shortest wait.
_GOOD_SECONDS: Final = 5.0

_log = structlog.get_logger()


class AmqpConnection:
    """A connection to the broker that is made again, for ever, whenever it is lost.

    aio-pika's own robust connection is not used: it restores consumers from weak references, and says nothing
    of those it could not restore.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._url = _url(url, name)
        self._live: Line | None = None
        self._up = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._reason: str | None = None

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    async def start(self) -> None:
        """Connect, and stay connected. Waits as long as it takes."""
        self._supervisor = self._supervisor or asyncio.create_task(self._supervise())
        await self._up.wait()

    async def channel(self) -> AbstractChannel:
        """A new channel with confirms, once there is a connection."""
        live = await self._when_up()
        return await live.connection.channel(publisher_confirms=True, on_return_raises=True)

    async def direct_channel(self) -> DirectChannel:
        """A new channel for many messages, once there is a connection."""
        live = await self._when_up()
        opened = await live.connection.channel(publisher_confirms=False)
        return DirectChannel(opened, await opened.get_underlay_channel(), live.deliveries, live.writer)

    async def close(self) -> None:
        """Disconnect for good."""
        if self._supervisor:
            await end([self._supervisor])

    async def _when_up(self) -> Line:
        await self._up.wait()
        assert self._live is not None  # noqa: S101 - what `_up` says
        return self._live

    async def _supervise(self) -> None:
        failures = 0
        while True:
            held_seconds = await self._hold()
            failures = 0 if held_seconds > _GOOD_SECONDS else failures + 1
            # Entropy against stampedes, not a secret.
            await asyncio.sleep(backoff_seconds(failures, random.random()))  # noqa: S311

    async def _hold(self) -> float:
        """Connect, and wait for the connection's end. Returns how many seconds it held."""
        try:
            with driver():
                live = await connected(Connection(self._url), _CONNECT_SECONDS)
        except DriverFailed as failed:
            self._say_waiting(failed.error)
            return 0.0
        return await self._until_lost(live)

    async def _until_lost(self, live: Line) -> float:
        loop = asyncio.get_running_loop()
        since = loop.time()
        lost: asyncio.Future[BaseException | None] = loop.create_future()
        live.connection.close_callbacks.add(lambda _, error: _settle(lost, error))
        self._say_connected()
        self._live = live
        self._up.set()
        try:
            self._say_waiting(await lost)
        finally:
            self._up.clear()
            await _closed(live.connection)
        return loop.time() - since

    def _say_connected(self) -> None:
        _log.info("The broker is back" if self._reason else "Connected to the broker", host=self._url.host)
        self._reason = None

    def _say_waiting(self, error: BaseException | None) -> None:
        reason = outage_reason(error)
        # Once for an outage, and again where it turns out to be of a kind that waiting does not end.
        if self._reason is None or reason not in (self._reason, UNREACHABLE):
            _log.warning("Waiting for the broker", host=self._url.host, vhost=self._url.path, reason=reason)
            self._reason = reason


def _url(text: str, name: str) -> URL:
    try:
        url = URL(text)
        return url.with_query({"heartbeat": str(_HEARTBEAT_SECONDS), "name": name, **url.query})
    except ValueError:
        # Not quoted and not chained: it may hold a password.
        raise ConfigurationError(["DISPENSER_BROKER_URL: not an amqp:// or amqps:// URL."]) from None


def _settle(lost: "asyncio.Future[BaseException | None]", error: BaseException | None) -> None:
    if not lost.done():
        lost.set_result(error)


async def _closed(connection: Connection) -> None:
    """Close in bounded time, however dead the other side is."""
    with contextlib.suppress(DriverFailed), driver():
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
