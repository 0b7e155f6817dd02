"""Lookups follow each other on one connection; each has its own answer, however the bytes come in."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError  # noqa: A004 - the driver's own

from shared.adapters.redis_line import Interrupted, RedisLine

VALUES = st.one_of(st.none(), st.binary(max_size=40), st.just(b"$-1\r\n*1\r\n"))


class Server:
    """The far end of each connection that is made, in turn."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.readers: list[asyncio.StreamReader] = []
        self.heard = b""
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.aborted = 0
        self.disconnected = 0
        self.transport = self

    def make_connection(self) -> SimpleNamespace:
        return SimpleNamespace(
            connect=self._connect, disconnect=self._disconnect, _reader=self._begun(), _writer=self
        )

    def write(self, command: bytes) -> None:
        self.heard += command

    def abort(self) -> None:
        self.aborted += 1
        self.readers[-1].feed_eof()

    def _begun(self) -> asyncio.StreamReader:
        self.readers.append(asyncio.StreamReader())
        return self.readers[-1]

    async def _disconnect(self, *, nowait: bool) -> None:
        assert nowait
        self.disconnected += 1

    async def _connect(self) -> None:
        await self.accepts.wait()
        if self.down:
            raise ConnectionError


async def _up(server: Server, timeout_seconds: float = 60.0) -> RedisLine:
    line = RedisLine(server, timeout_seconds)  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        await line.mget(["first"])
    await asyncio.sleep(0)
    return line


async def _asking(line: RedisLine, *lookups: list[str]) -> list[asyncio.Task]:
    asking = [asyncio.create_task(line.mget(keys)) for keys in lookups]
    await asyncio.sleep(0)
    return asking


def _answer(values: list[bytes | None], none: bytes = b"$-1\r\n") -> bytes:
    bulks = [none if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"*%d\r\n%b" % (len(values), b"".join(bulks))


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(1, 30),
    st.sampled_from([b"$-1\r\n", b"_\r\n"]),
)
def test_each_lookup_has_its_own_answer_however_the_bytes_come_in(lookups, size, none):
    async def answered() -> list[list[bytes | None]]:
        server = Server()
        line = await _up(server)
        asking = await _asking(line, *(["key"] * len(values) for values in lookups))
        stream = b"".join(_answer(values, none) for values in lookups)
        for at in range(0, len(stream), size):
            server.readers[-1].feed_data(stream[at : at + size])
            await asyncio.sleep(0)
        return await asyncio.gather(*asking)

    assert asyncio.run(answered()) == lookups


async def test_it_asks_as_redis_wants_to_be_asked():
    server = Server()
    [asking] = await _asking(await _up(server), ["tok:a", "ü"])
    server.readers[-1].feed_data(_answer([b"1", None]))
    assert await asking == [b"1", None]
    assert server.heard == b"*3\r\n$4\r\nMGET\r\n$5\r\ntok:a\r\n$2\r\n\xc3\xbc\r\n"


@pytest.mark.parametrize(
    "said", [b"-NOPERM no\r\n", b"*2\r\n", b"*1\r\n:7\r\n", b"*1\r\n$x\r\n", b">1\r\n", b""]
)
async def test_what_is_no_answer_interrupts_all_who_ask_and_another_connection_is_made(said):
    server = Server()
    line = await _up(server)
    asking = await _asking(line, ["a"], ["b"])
    if said:
        server.readers[-1].feed_data(said)
    else:
        server.readers[-1].feed_eof()
    for each in asking:
        with pytest.raises(Interrupted):
            await each
    assert server.aborted
    with pytest.raises(Interrupted):
        await line.mget(["a"])
    await asyncio.sleep(0)
    [asking] = await _asking(line, ["a"])
    server.readers[-1].feed_data(_answer([b"1"]))
    assert await asking == [b"1"]


async def test_nobody_reads_the_answer_of_one_who_gave_up():
    server = Server()
    line = await _up(server)
    gone, late = await _asking(line, ["a"], ["b"])
    gone.cancel()
    with pytest.raises(Interrupted):
        await late
    assert gone.cancelled()
    assert server.aborted


async def test_a_slow_server_is_asked_no_more():
    server = Server()
    line = await _up(server, timeout_seconds=0.0)
    for each in await _asking(line, ["a"], ["b"]):
        with pytest.raises(TimeoutError):
            await each
    assert server.aborted


async def test_a_server_that_is_down_interrupts_and_is_tried_again():
    server = Server(down=True)
    line = await _up(server)
    server.down = False
    with pytest.raises(Interrupted):
        await line.mget(["a"])
    await asyncio.sleep(0)
    [asking] = await _asking(line, ["a"])
    server.readers[-1].feed_data(_answer([b"1"]))
    assert await asking == [b"1"]
    await line.close()


async def test_one_that_is_closed_while_it_connects_leaves_nothing_behind():
    server = Server()
    server.accepts.clear()
    line = await _up(server)
    await line.close()
    assert server.disconnected == 1
