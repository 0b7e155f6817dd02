import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from dispenser.wiring.keyring_source import KeyringSource
from shared import keyring
from shared.ending import end
from shared.errors import VaultError
from shared.keyring import Keyring
from shared.ports import Clock

#: A rotated keyring is known within so many seconds, and a key that becomes current is used within as many.
POLL_SECONDS: Final = 1.0
log = structlog.get_logger()


class KeyringView:
    """A process's keyring, which follows what its source holds. Whoever owns the view polls `look`."""

    def __init__(self, source: KeyringSource, clock: Clock) -> None:
        """Raises: KeyMissing, KeyProviderFailed, ConfigurationError."""
        self._source = source
        self._clock = clock
        self._text = source.text()
        self._opened = source.unwrapped(self._text)
        self.current = keyring.parse(self._opened, clock())

    async def look(self) -> None:
        """Hold what the source holds now, with the keys that are current now. Raises: as `KeyringSource`."""
        text = await asyncio.to_thread(self._source.text)
        if text != self._text:
            # Slow where a key management service opens it.
            self._opened = await asyncio.to_thread(self._source.unwrapped, text)
        newer = keyring.parse(self._opened, self._clock())
        if text != self._text or newer.primary != self.current.primary:
            self.current.become(newer)
            log.info("The keyring has changed", current=dict(newer.primary))
        self._text = text


@asynccontextmanager
async def followed(view: KeyringView) -> AsyncIterator[Keyring]:
    """The view's keyring, kept up to date beside the body."""
    looking = asyncio.create_task(_look_on(view), name="keyring")
    try:
        yield view.current
    finally:
        await end([looking])


async def _look_on(view: KeyringView) -> None:
    readable = True
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            await view.look()
            readable = True
        except VaultError as error:
            if readable:
                log.critical("The keyring cannot be read; the keys seen last stay in use", why=str(error))
            readable = False
