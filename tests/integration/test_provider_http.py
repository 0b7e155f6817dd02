import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from integration.silence import silent

from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import Hang
from shared.adapters import provider_http
from shared.adapters.provider_http import LONGEST_BODY_BYTES, HttpxProviderHttp
from shared.ports import HttpRequest, HttpResponse, NoAnswer, NotSent


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next answer, and what it was asked."""
    asked: list[bytes] = []
    left = list(answers)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            writer.write(left.pop(0))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        finally:
            writer.transport.abort()  # also where the test ends first

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token", asked


async def send(url: str) -> HttpResponse:
    http = HttpxProviderHttp()
    try:
        return await http.send(HttpRequest(method="POST", url=url, headers={"X-Ours": "1"}, body=b"a=b"))
    finally:
        await http.close()


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def test_an_answer_is_passed_on_as_it_is():
    async with answering(whole(b'{"a": 1}', b"Retry-After: 3", status=b"429 Too Many")) as (url, asked):
        response = await send(url)
    assert (response.status, response.body, response.headers["retry-after"]) == (429, b'{"a": 1}', "3")
    assert b"X-Ours: 1" in asked[0]


async def test_a_redirect_is_not_followed():
    async with answering(whole(b"", b"Location: http://127.0.0.1:1/", status=b"307 T")) as (
        url,
        asked,
    ):
        assert (await send(url)).status == 307
    assert len(asked) == 1


async def test_cookies_are_not_kept():
    async with answering(*[whole(b"", b"Set-Cookie: a=b")] * 2) as (url, asked):
        http = HttpxProviderHttp()
        for _ in range(2):
            await http.send(HttpRequest(method="POST", url=url, headers={}, body=b""))
        await http.close()
    assert b"cookie" not in asked[1].lower()


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with answering(whole(b"")) as (url, _):
        assert (await send(url)).status == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/token", "ftp://127.0.0.1/", "http://[broken/", ""])
async def test_what_never_left_is_told_as_such(url: str):
    with pytest.raises(NotSent):
        await send(url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"not http at all\r\n\r\n",
        whole(bytes(LONGEST_BODY_BYTES + 1)),
    ],
)
async def test_an_answer_that_is_not_whole_is_lost_and_asked_for_once(answer: bytes):
    async with answering(answer) as (url, asked):
        with pytest.raises(NoAnswer):
            await send(url)
    assert len(asked) == 1


async def test_the_longest_answer_is_read_whole():
    async with answering(whole(bytes(LONGEST_BODY_BYTES))) as (url, _):
        assert len((await send(url)).body) == LONGEST_BODY_BYTES


async def test_a_provider_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provider_http, "TOTAL_SECONDS", 0.05)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NoAnswer):
            await send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_an_answer_that_comes_while_the_process_is_stopped_is_read(monkeypatch: pytest.MonkeyPatch):
    """The time for it has run out by then, as it does when a machine sleeps."""
    monkeypatch.setattr(provider_http, "TOTAL_SECONDS", 1.0)
    with Emulator() as provider:  # in a thread of its own, so it goes on
        hang = Hang()
        provider.faults.next(hang)
        asking = asyncio.create_task(send(provider.token_url))
        await hang.reached()
        hang.release()
        time.sleep(1.5)  # noqa: ASYNC251 - nothing of ours runs meanwhile

        assert (await asking).status == 401
