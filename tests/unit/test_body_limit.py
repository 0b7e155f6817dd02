"""A body that is too long costs no more than the limit to refuse, and the app never sees a part of one."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from dispenser.http.body_limit import MAX_BODY_BYTES, BodyLimit

MORE = {"type": "http.request", "body": b"x" * 10_000, "more_body": True}
LAST = {"type": "http.request", "body": b"x" * 384, "more_body": False}
GONE = {"type": "http.disconnect"}


class Connection:
    """What a client sends, and what became of it."""

    def __init__(self, messages: list[Message], headers: dict[str, str] | None = None) -> None:
        self._messages: Iterator[Message] = iter(messages)
        self._headers = headers or {}
        self.received = 0
        self.seen_by_app: bytes | None = None
        self.status: int | None = None

    async def run(self) -> "Connection":
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": headers}
        await BodyLimit(self._app)(scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        self.received += 1
        return next(self._messages)

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert not message["more_body"]
        self.seen_by_app = message["body"]


async def test_the_app_gets_a_body_whole_whatever_its_pieces() -> None:
    at_the_limit = [MORE, {**MORE, "body": b"x" * 6000}, LAST]
    assert sum(len(piece["body"]) for piece in at_the_limit) == MAX_BODY_BYTES
    connection = await Connection(at_the_limit).run()
    assert connection.seen_by_app == b"x" * MAX_BODY_BYTES


async def test_one_byte_too_many_is_refused() -> None:
    one_more = {**LAST, "body": b"x" * (MAX_BODY_BYTES + 1)}
    connection = await Connection([one_more]).run()
    assert (connection.status, connection.seen_by_app) == (413, None)


async def test_an_endless_body_is_refused_at_the_limit() -> None:
    connection = await Connection([MORE] * 1000).run()
    assert (connection.status, connection.seen_by_app, connection.received) == (413, None, 2)


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 30, "-1", "many"])
async def test_a_body_that_is_announced_too_long_is_not_read(length: str) -> None:
    connection = await Connection([MORE], {"content-length": length}).run()
    assert (connection.status, connection.seen_by_app, connection.received) == (413, None, 0)


async def test_half_a_body_reaches_no_app() -> None:
    connection = await Connection([MORE, GONE]).run()
    assert (connection.status, connection.seen_by_app) == (None, None)
