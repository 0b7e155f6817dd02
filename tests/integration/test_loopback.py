"""`dispenser connect` listens at one local address, for the answer to one consent."""

import asyncio
import base64
import hashlib
import re
import socket
from contextlib import suppress

import httpx
import pytest

from dispenser.loopback import MAX_REQUEST_BYTES, PortTaken, listening

STATE = "the-state"


@pytest.fixture
def redirect_uri() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/callback"


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as browser:
        return await browser.get(url)


async def test_the_answer_arrives_and_the_owner_may_go(redirect_uri: str) -> None:
    async with listening(redirect_uri, STATE) as callback:
        page = await get(f"{redirect_uri}?code=c%20d&state={STATE}&iss=https%3A%2F%2Fid.example")
        assert await callback == {"code": "c d", "state": STATE, "iss": "https://id.example"}
    assert (page.status_code, "close this window" in page.text) == (200, True)
    assert page.headers["cache-control"] == "no-store"
    assert "c d" not in page.text


async def test_its_page_is_framed_nowhere_and_runs_nothing(redirect_uri: str) -> None:
    async with listening(redirect_uri, STATE):
        page = await get(redirect_uri)
    [style] = re.findall(r"<style>(.*)</style>", page.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "frame-ancestors 'none'" in policy
    assert (page.headers["x-frame-options"], page.headers["referrer-policy"]) == ("DENY", "no-referrer")


@pytest.mark.parametrize(
    "request_target",
    [
        "/callback?code=forged&state=another",
        "/callback?code=forged",
        f"/callback?code=forged&state={STATE}&code=twice",
        f"/elsewhere?code=forged&state={STATE}",
        f"/callback/?code=forged&state={STATE}",
        "/favicon.ico",
    ],
)
async def test_whatever_else_comes_is_passed_over(redirect_uri: str, request_target: str) -> None:
    async with listening(redirect_uri, STATE) as callback:
        address = redirect_uri.removesuffix("/callback")
        assert (await get(address + request_target)).status_code == 404
        await get(f"{redirect_uri}?code=right&state={STATE}")
        assert (await callback)["code"] == "right"


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"",
        b"\xff\xfe\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        f"POST /callback?code=c&state={STATE} HTTP/1.1\r\n\r\n".encode(),
    ],
    ids=["nothing", "noise", "bad target", "post"],
)
async def test_garbage_is_answered_and_passed_over(redirect_uri: str, bytes_sent: bytes) -> None:
    async with listening(redirect_uri, STATE) as callback:
        assert (await sent(redirect_uri, bytes_sent)).startswith(b"HTTP/1.1 404")
        await get(f"{redirect_uri}?code=right&state={STATE}")
        assert (await callback)["code"] == "right"


async def test_a_request_without_end_is_cut_off(redirect_uri: str) -> None:
    async with listening(redirect_uri, STATE) as callback:
        with suppress(ConnectionError):
            answer = await sent(redirect_uri, b"GET /" + b"a" * (4 * MAX_REQUEST_BYTES))
            assert answer.startswith(b"HTTP/1.1 404")
        await get(f"{redirect_uri}?code=right&state={STATE}")
        assert (await callback)["code"] == "right"


async def sent(redirect_uri: str, request: bytes) -> bytes:
    """What comes back for these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(redirect_uri).port)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


async def test_a_browser_that_connects_and_says_nothing_keeps_nobody_waiting(redirect_uri: str) -> None:
    async with listening(redirect_uri, STATE) as callback:
        _, silent = await asyncio.open_connection("127.0.0.1", httpx.URL(redirect_uri).port)
        await get(f"{redirect_uri}?code=right&state={STATE}")
        assert (await callback)["code"] == "right"
    silent.close()
    await silent.wait_closed()


async def test_a_taken_port_is_named(redirect_uri: str) -> None:
    port = str(httpx.URL(redirect_uri).port)
    async with listening(redirect_uri, STATE):
        with pytest.raises(PortTaken, match=port):
            async with listening(redirect_uri, STATE):
                pass


@pytest.mark.parametrize("address", ["http://0.0.0.0:1/", "http://vault.example/", "https://127.0.0.1:1/"])
async def test_it_listens_to_this_machine_alone(address: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        async with listening(address, STATE):
            pass
