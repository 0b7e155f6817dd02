"""One connection to Redis for the lookup that every request makes, past the driver's layers.

They take several times as long for it as Redis does: a pool, retries, timeouts and measurements around each
command, and an answer read line by line. The connection is the driver's: it logs in, and speaks TLS.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError

from shared.ending import end

Values = list[bytes | None]
_CHUNK_BYTES: Final = 1 << 16
_END: Final = b"\r\n"
#: No value, as RESP2 and as RESP3 have it (https://redis.io/docs/latest/develop/reference/protocol-spec/).
_NONE: Final = frozenset({b"$-1", b"_"})


class Interrupted(Exception):
    """Not connected, or what came is no answer: ask the driver, which tries again and says why."""


class RedisLine:
    """A connection that is made when it is first asked for, and again when it was lost.

    Nobody waits for that: meanwhile, all that is asked is Interrupted.
    """

    def __init__(self, pool: ConnectionPool, timeout_seconds: float) -> None:
        """`pool`: makes the connection. `timeout_seconds`: who is slower than this is asked no more."""
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._wire: _Wire | None = None
        self._laying: asyncio.Task[None] | None = None

    async def mget(self, keys: Sequence[str]) -> Values:
        """The keys' values. Raises: TimeoutError, Interrupted."""
        if self._wire is None or self._wire.is_cut:
            if self._laying is None or self._laying.done():
                self._laying = asyncio.create_task(self._lay())
            raise Interrupted
        return await self._wire.mget(keys)

    async def close(self) -> None:
        """For good."""
        if self._laying is not None:
            await end([self._laying])
        if self._wire is not None:
            self._wire.cut()

    async def _lay(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            # Whoever asks the driver meanwhile is told what is wrong.
            with suppress(RedisError, OSError):
                await connection.connect()  # type: ignore[no-untyped-call]
                self._wire = _Wire(connection, self._timeout_seconds)
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise


class _Wire:
    """Lookups follow each other on it without waiting, and are answered in their order."""

    def __init__(self, connection: AbstractConnection, timeout_seconds: float) -> None:
        # The driver has no other way to them; they are its own no longer.
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001
        assert reader is not None  # noqa: S101 - it was connected
        assert writer is not None  # noqa: S101
        self._reader = reader
        self._writer = writer
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        #: Whose answer is next: those who asked have it in the order in which they did.
        self._turn = asyncio.Lock()
        #: Has come, and is not looked at yet.
        self._rest = b""
        self.is_cut = False
        self._is_late = False

    async def mget(self, keys: Sequence[str]) -> Values:
        # Where asyncio's own timeouts cost as much as the lookup.
        late = self._loop.call_later(self._timeout_seconds, self._late)
        self._writer.write(_command(keys))
        try:
            async with self._turn:
                return await self._values(len(keys))
        except (OSError, ValueError) as error:
            self.cut()
            raise (TimeoutError if self._is_late else Interrupted) from error
        except BaseException:
            # Whoever comes next would read this one's answer.
            self.cut()
            raise
        finally:
            late.cancel()

    def cut(self) -> None:
        """Nothing more comes over it."""
        self.is_cut = True
        # Not closed, which over TLS waits for the other end.
        self._writer.transport.abort()

    def _late(self) -> None:
        self._is_late = True
        self.cut()

    async def _values(self, count: int) -> Values:
        while not (read := _read(self._rest, count)):
            chunk = b"" if self.is_cut else await self._reader.read(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError
            self._rest += chunk
        values, at = read
        self._rest = self._rest[at:]
        return values


def _command(keys: Sequence[str]) -> bytes:
    encoded = [key.encode() for key in keys]
    bulks = [b"$%d\r\n%b\r\n" % (len(key), key) for key in encoded]
    return b"*%d\r\n$4\r\nMGET\r\n%b" % (len(keys) + 1, b"".join(bulks))


def _read(answer: bytes, count: int) -> tuple[Values, int] | None:
    """The values in an answer and where it ends. None: it has not come whole. Raises: ValueError."""
    at = answer.find(_END) + len(_END)
    if at < len(_END):
        return None
    if answer[:at] != b"*%d\r\n" % count:
        raise ValueError("Something else than the values that were asked for.")
    values: Values = []
    while len(values) < count:
        end = answer.find(_END, at)
        if end < 0:
            return None
        head, at = answer[at:end], end + len(_END)
        if head in _NONE:
            values.append(None)
            continue
        begin, at = at, at + _length(head) + len(_END)
        if at > len(answer):
            return None
        values.append(answer[begin : at - len(_END)])
    return values, at


def _length(head: bytes) -> int:
    if not head.startswith(b"$"):
        raise ValueError("Something else than a value.")
    return int(head[1:])
