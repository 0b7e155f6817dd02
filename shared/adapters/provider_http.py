import asyncio
import socket
import ssl
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, Final

import httpcore
import httpx

from shared.adapters.certificate import UNKNOWN_PROVIDER, mistrust
from shared.destination import Address, Network, refusal
from shared.ports import AddressRefused, Closed, HttpRequest, HttpResponse, Mistrusted, NoAnswer, NotSent

CONNECT_SECONDS: Final = 5.0
#: For the whole of it: a provider that sends a byte a minute ends here.
TOTAL_SECONDS: Final = 70.0
#: They are counted in so many steps. A process that was stopped for minutes has missed one of them, and reads
#: the answer that came meanwhile.
STEPS: Final = 70
LONGEST_BODY_BYTES: Final = 64 * 1024
_TOO_LONG: Final = f"The provider's answer is longer than {LONGEST_BODY_BYTES} bytes."
#: Of a name with many addresses, so many are tried.
MOST_ADDRESSES: Final = 4
#: What every request says. None keeps its connection: one that the provider has just closed would make "not
#: sent" look like "no answer".
_SAID: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "token-dispenser",
}
_PORTS: Final = {"http": 80, "https": 443}
_NEVER_SENT: Final = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
)

#: Reset, or closed before a whole answer had come.
_ENDED: Final = (httpcore.ReadError, httpcore.RemoteProtocolError)
_LOST: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpx.DecodingError,
    TimeoutError,
)


class HttpxProviderHttp:
    """Talks to providers over what httpx is made of: what is sent is exactly what was asked for, once.

    Without httpx's client, which does much for a request that may do so little: no redirects (they would
    carry secrets elsewhere), no retries (a refresh token is spent once), no proxy or certificate settings
    from the environment, no cookies, and no pool where each has a connection of its own. A name's addresses
    are judged, and one of those is connected to and no other: a name that leads elsewhere a moment later does
    no harm.
    """

    def __init__(self, networks: Sequence[Network] = (), *, ca_file: str = "") -> None:
        """`ca_file`: who vouches for providers besides the public authorities, in PEM. Raises: OSError."""
        self._networks = tuple(networks)
        self._believed = _believed(ca_file)
        self._backend = httpcore.AnyIOBackend()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises: NotSent, AddressRefused, Mistrusted, NoAnswer, Closed."""
        try:
            return await _in_time(self._exchange(request))
        except _NEVER_SENT as error:
            if (why := mistrust(error, unknown=UNKNOWN_PROVIDER)) is not None:
                raise Mistrusted(f"{httpx.URL(request.url).host}: {why}.") from error
            raise NotSent(f"The provider was not reached: {type(error).__name__}.") from error
        except _ENDED as error:
            raise Closed(f"The provider ended the connection: {type(error).__name__}.") from error
        except _LOST as error:
            raise NoAnswer(f"The provider's answer is lost: {type(error).__name__}.") from error

    async def close(self) -> None:
        """Nothing is open but for an exchange."""

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        url = httpx.URL(request.url)
        addresses = await self._addresses(url, local=request.local)
        for address in addresses[:-1]:
            try:
                return await self._ask(request, url, address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # nothing has been sent: another of its addresses may answer
        return await self._ask(request, url, addresses[-1])

    async def _ask(self, request: HttpRequest, url: httpx.URL, address: Address) -> HttpResponse:
        """At this very address; TLS verifies the name, and the server hears it, all the same."""
        origin = httpcore.Origin(url.raw_scheme, str(address).encode(), url.port or _PORTS[url.scheme])
        connection = httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._believed, network_backend=self._backend
        )
        try:
            response = await connection.handle_async_request(_sent(request, url, origin))
            return _read(response, await _bounded(response))
        finally:
            await connection.aclose()

    async def _addresses(self, url: httpx.URL, *, local: bool) -> list[Address]:
        """Where the URL's name leads. Raises: AddressRefused where any of it is no place for a request."""
        if url.scheme not in ("https", "http") or not url.host:
            raise httpcore.UnsupportedProtocol("A provider is asked over HTTP.")
        found = await _resolved(url)
        for address in found:
            reason = refusal(address, self._networks, local=local)
            if reason is not None:
                raise AddressRefused(f"{url.host} leads to {address}: {reason}.")
            if url.scheme == "http" and not address.is_loopback:
                raise AddressRefused(
                    f"{url.host} is asked without TLS, which is for this very machine alone."
                )
        return found[:MOST_ADDRESSES]


def _believed(ca_file: str) -> ssl.SSLContext:
    public = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        public.load_verify_locations(ca_file)
    return public


async def _resolved(url: httpx.URL) -> list[Address]:
    """All addresses of a URL's name, each once. Raises: httpcore.ConnectError, httpcore.ConnectTimeout."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                url.raw_host.decode("ascii"), url.port, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        raise httpcore.ConnectTimeout("The name was not resolved in time.") from None
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("The name does not resolve.") from error
    # Without the zone that a link-local address may carry.
    addresses = dict.fromkeys(ip_address(str(place[0]).partition("%")[0]) for *_, place in found)
    if not addresses:
        raise httpcore.ConnectError("The name has no address.")
    return list(addresses)


async def _in_time(exchange: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
    """What the exchange comes to. Raises: TimeoutError."""
    exchanging = asyncio.create_task(exchange)
    try:
        for _ in range(STEPS):
            if (await asyncio.wait([exchanging], timeout=TOTAL_SECONDS / STEPS))[0]:
                return exchanging.result()
        raise TimeoutError
    finally:
        exchanging.cancel()
        await asyncio.wait([exchanging])


def _sent(request: HttpRequest, url: httpx.URL, origin: httpcore.Origin) -> httpcore.Request:
    said = {"Host": url.netloc.decode("ascii"), **_SAID, **request.headers}
    if request.body or request.method == "POST":
        said["Content-Length"] = str(len(request.body))
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=url.raw_path),
        headers=list(said.items()),
        content=request.body,
        extensions={
            "timeout": {"connect": CONNECT_SECONDS},
            "sni_hostname": url.raw_host.decode("ascii"),
        },
    )


def _read(response: httpcore.Response, body: bytes) -> HttpResponse:
    # Decoded where a provider packs its answer though it was told not to.
    read = httpx.Response(response.status, headers=response.headers, content=body)
    if len(read.content) > LONGEST_BODY_BYTES:
        raise NoAnswer(_TOO_LONG)
    return HttpResponse(status=read.status_code, headers=dict(read.headers), body=read.content)


async def _bounded(response: httpcore.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > LONGEST_BODY_BYTES:
            raise NoAnswer(_TOO_LONG)
    return bytes(body)
