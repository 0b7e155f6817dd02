import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from integration.silence import silent

from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import Hang
from shared.adapters import provider_http
from shared.adapters.provider_http import LONGEST_BODY_BYTES, HttpxProviderHttp
from shared.destination import private_network
from shared.ports import AddressRefused, Closed, HttpRequest, HttpResponse, NoAnswer, NotSent


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
        return await http.send(
            HttpRequest(method="POST", url=url, headers={"X-Ours": "1"}, body=b"a=b", local=True)
        )
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
            await http.send(HttpRequest(method="POST", url=url, headers={}, body=b"", local=True))
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
    ("answer", "is_over"),
    [
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", True),
        (b"not http at all\r\n\r\n", True),
        (whole(bytes(LONGEST_BODY_BYTES + 1)), False),
    ],
)
async def test_an_answer_that_is_not_whole_is_lost_and_asked_for_once(answer: bytes, is_over: bool):
    async with answering(answer) as (url, asked):
        with pytest.raises(NoAnswer) as lost:
            await send(url)
    assert len(asked) == 1
    assert isinstance(lost.value, Closed) is is_over


async def test_an_answer_that_is_packed_all_the_same_is_unpacked():
    packed = whole(gzip.compress(b"{}"), b"Content-Encoding: gzip")
    async with answering(packed, whole(b"{}", b"Content-Encoding: gzip")) as (url, _):
        assert (await send(url)).body == b"{}"
        with pytest.raises(NoAnswer):
            await send(url)


async def test_an_answer_that_is_too_long_once_it_is_unpacked_is_lost():
    packed = whole(gzip.compress(bytes(LONGEST_BODY_BYTES + 1)), b"Content-Encoding: gzip")
    async with answering(packed) as (url, _):
        with pytest.raises(NoAnswer):
            await send(url)


async def test_the_longest_answer_is_read_whole():
    async with answering(whole(bytes(LONGEST_BODY_BYTES))) as (url, _):
        assert len((await send(url)).body) == LONGEST_BODY_BYTES


async def test_a_provider_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provider_http, "TOTAL_SECONDS", 0.05)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NoAnswer) as lost:
            await send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert not isinstance(lost.value, Closed), "it may carry the request out yet"


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


def answers(monkeypatch: pytest.MonkeyPatch, *turns: list[str]) -> list[str]:
    """Names lead to these addresses, other ones each time they are asked for. Returns which names were."""
    asked: list[str] = []
    left = list(turns)

    async def getaddrinfo(host: str, port: int | None, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def ask(url: str, *networks: str, local: bool = False) -> HttpResponse:
    http = HttpxProviderHttp([private_network(network) for network in networks])
    try:
        return await http.send(HttpRequest(method="GET", url=url, headers={}, body=b"", local=local))
    finally:
        await http.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://0x7f000001:{port}/",
        "https://2130706433:{port}/",
        "https://127.1:{port}/",
        "https://0:{port}/",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://[fe80::1]/",
        "http://127.0.0.1:{port}/",
    ],
)
async def test_nothing_connects_to_what_is_not_public(url: str):
    async with answering(whole(b"inside")) as (inside, asked):
        with pytest.raises(NotSent):
            await ask(url.format(port=httpx.URL(inside).port))
    assert asked == []


async def test_a_name_is_judged_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch):
    async with answering(whole(b"inside")) as (inside, asked):
        answers(monkeypatch, ["93.184.216.34", "127.0.0.1"])
        with pytest.raises(AddressRefused, match=r"idp\.example leads to 127\.0\.0\.1"):
            await ask(f"https://idp.example:{httpx.URL(inside).port}/")
    assert asked == []


async def test_a_name_that_leads_elsewhere_when_it_is_asked_again_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
):
    async with answering(whole(b"rebound"), whole(b"rebound")) as (inside, asked):
        names = answers(monkeypatch, ["10.20.255.254"], ["127.0.0.1"])
        monkeypatch.setattr(provider_http, "CONNECT_SECONDS", 0.2)
        with pytest.raises((NotSent, NoAnswer)):
            await ask(f"https://idp.example:{httpx.URL(inside).port}/", "10.20.0.0/16")
    assert (names, asked) == (["idp.example"], [])


async def test_a_network_that_is_allowed_is_no_way_around_tls(monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, ["10.20.0.1"])
    with pytest.raises(AddressRefused, match="without TLS"):
        await ask("http://idp.example/", "10.20.0.0/16")


async def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    async with answering(whole(b"here")) as (inside, asked):
        answers(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        response = await ask(f"http://idp.example:{httpx.URL(inside).port}/path?q=1", local=True)
    assert response.body == b"here"
    assert asked[0].startswith(b"GET /path?q=1 HTTP/1.1\r\n")
    assert f"\r\nHost: idp.example:{httpx.URL(inside).port}\r\n".encode() in asked[0]


@pytest.mark.parametrize(("name", "verified"), [("idp.example", True), ("other.example", False)])
async def test_tls_verifies_the_name_though_the_address_is_what_is_connected_to(
    name: str, verified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = self_signed("idp.example", tmp_path)
    heard: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _, sni, __: heard.append(sni)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b"verified"))
        await writer.drain()
        writer.close()

    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    async with await asyncio.start_server(respond, "127.0.0.1", 0, ssl=tls) as server:
        answers(monkeypatch, ["127.0.0.1"])
        url = f"https://{name}:{server.sockets[0].getsockname()[1]}/"
        if verified:
            assert (await ask(url, local=True)).body == b"verified"
        else:
            with pytest.raises(NotSent):
                await ask(url, local=True)
    assert heard == [name]


def self_signed(name: str, folder: Path) -> Path:
    """A key and its certificate, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file
