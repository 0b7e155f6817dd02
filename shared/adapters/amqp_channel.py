import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A channel."""

    @property
    def is_closed(self) -> bool:
        """Whoever closed it."""


Channel = TypeVar("Channel", bound=Closable)


class Reopening(Generic[Channel]):
    """A channel that is opened again when it is asked for and not open."""

    def __init__(self, opened: Callable[[], Awaitable[Channel]]) -> None:
        self._opened = opened
        self._opening = asyncio.Lock()
        self._channel: Channel | None = None

    async def get(self) -> Channel:
        """The open channel. Waits for the connection as long as it takes."""
        if (channel := self.open) is not None:
            return channel
        async with self._opening:
            self._channel = self.open or await self._opened()
            return self._channel

    @property
    def open(self) -> Channel | None:
        """It, if it is open."""
        return None if self._channel is None or self._channel.is_closed else self._channel
