"""Where the provider sends an owner back to `dispenser connect`: one local address, for one answer."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from dispenser.connect import is_loopback
from shared.errors import VaultError

MAX_REQUEST_BYTES: Final = 16 * 1024
#: A browser that opens a connection ahead of time and says nothing is not waited for.
READ_SECONDS: Final = 10.0
HTTP_PORT: Final = 80
_RECEIVED: Final = "Received. You may close this window and go back to the terminal."
_UNKNOWN: Final = "This address only takes the answer of a consent that is under way."
_STYLE: Final = (
    "body { margin: 0; min-height: 100vh; display: grid; place-items: center; "
    "font: 1rem/1.55 system-ui, sans-serif; } p { max-width: 30rem; padding: 2rem; }"
)
_PAGE: Final = (
    '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>Token dispenser</title><style>{_STYLE.replace('{', '{{').replace('}', '}}')}</style>"
    "<p>{sentence}</p>"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
    f"Content-Security-Policy: default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nConnection: close\r\n"
)
_Receiver = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PortTaken(VaultError):
    """The port of the provider's redirect_uri is in use. End the program that has it, and begin again."""

    code = "port_taken"
    retryable = True


@asynccontextmanager
async def listening(redirect_uri: str, state: str) -> AsyncIterator[Awaitable[Mapping[str, str]]]:
    """Listen at a loopback `redirect_uri` (RFC 8252 §7.3); await what it yields for the parameters.

    Whatever comes to another path or without the right `state` is answered and passed over.
    Raises: PortTaken, ValueError for an address that is not http on loopback.
    """
    address = urlsplit(redirect_uri)
    if address.scheme != "http" or not is_loopback(redirect_uri):
        raise ValueError("`dispenser connect` listens on http and a loopback address alone.")
    found: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parameters = callback_parameters(await _request_line(reader), address, state)
        await _answer(writer, received=parameters is not None)
        if parameters is not None and not found.done():
            found.set_result(parameters)

    server = await _serve(receive, address)
    try:
        yield found
    finally:
        server.close()


def callback_parameters(request_line: str, address: SplitResult, state: str) -> Mapping[str, str] | None:
    """The parameters of a request that answers the consent under way. None: it does not."""
    method, _, rest = request_line.partition(" ")
    try:
        target = urlsplit(rest.partition(" ")[0])
    except ValueError:
        return None
    if method != "GET" or target.path != (address.path or "/"):
        return None
    pairs = parse_qsl(target.query, keep_blank_values=True)
    parameters = dict(pairs)
    right = hmac.compare_digest(parameters.get("state", "").encode(), state.encode())
    return parameters if right and len(parameters) == len(pairs) else None  # each once: RFC 6749 §3.1


async def _serve(receive: _Receiver, address: SplitResult) -> asyncio.Server:
    try:
        return await asyncio.start_server(
            receive, address.hostname, address.port or HTTP_PORT, limit=MAX_REQUEST_BYTES
        )
    except OSError as error:
        raise PortTaken(
            f"Nobody can listen on port {address.port or HTTP_PORT} here ({error.strerror}): end the program "
            "that has it, or declare another redirect_uri."
        ) from error


async def _request_line(reader: asyncio.StreamReader) -> str:
    """The first line of a request, read with its headers. Empty: there is none that is worth an answer."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError):
        return ""
    return head.partition(b"\r\n")[0].decode("ascii", "replace")


async def _answer(writer: asyncio.StreamWriter, *, received: bool) -> None:
    body = _PAGE.format(sentence=_RECEIVED if received else _UNKNOWN).encode()
    status = "200 OK" if received else "404 Not Found"
    head = f"HTTP/1.1 {status}\r\n{_HEADERS}Content-Length: {len(body)}\r\n\r\n"
    with suppress(ConnectionError):
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
