import asyncio
from urllib.parse import urlsplit, urlunsplit


class Line:
    """A TCP line to a server: it can be cut and laid again, and its answers held back."""

    def __init__(self, url: str, *, default_port: int) -> None:
        self._parts = urlsplit(url)
        self._target = (self._parts.hostname, self._parts.port or default_port)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._carriers: set[asyncio.Task[None]] = set()
        #: Set while the server's answers come through.
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        """The server's URL, over the line."""
        user = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{user}@127.0.0.1:{self._port}"))

    async def lay(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Everything that is open breaks, and nothing new comes through until the line is laid again."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for carrier in self._carriers:
            carrier.cancel()
        if self._carriers:
            await asyncio.wait(self._carriers)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        if self._server is None:  # cut meanwhile
            writer.transport.abort()
            far_writer.transport.abort()
            return
        there = asyncio.create_task(_pump(reader, far_writer, None))
        back = asyncio.create_task(_pump(far_reader, writer, self.answers))
        for carrier in (there, back):
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carriers.discard)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None
) -> None:
    try:
        while data := await reader.read(65536):
            if gate:
                await gate.wait()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other end has gone: so does this one
    finally:
        writer.transport.abort()
