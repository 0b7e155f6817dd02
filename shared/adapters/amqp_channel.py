import asyncio

from aio_pika.abc import AbstractChannel

from shared.adapters.amqp_connection import AmqpConnection


class AmqpChannel:
    """A channel that is opened again when it is asked for and not open."""

    def __init__(self, connection: AmqpConnection, *, confirms: bool) -> None:
        self._connection = connection
        self._confirms = confirms
        self._opening = asyncio.Lock()
        self._channel: AbstractChannel | None = None

    async def get(self) -> AbstractChannel:
        """The open channel. Waits for the connection as long as it takes."""
        if self._channel is None or self._channel.is_closed:
            async with self._opening:
                if self._channel is None or self._channel.is_closed:
                    self._channel = await self._connection.channel(confirms=self._confirms)
        return self._channel
