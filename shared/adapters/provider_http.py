import asyncio
from collections.abc import Coroutine
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

from shared.ports import HttpRequest, HttpResponse, NoAnswer, NotSent

CONNECT_SECONDS: Final = 5.0
#: For the whole of it: a provider that sends a byte a minute ends here.
TOTAL_SECONDS: Final = 70.0
#: They are counted in so many steps. A process that was stopped for minutes has missed one of them, and reads
#: the answer that came meanwhile.
STEPS: Final = 70
LONGEST_BODY_BYTES: Final = 64 * 1024
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class HttpxProviderHttp:
    """Talks to providers over httpx: what is sent is exactly what was asked for, once.

    No redirects (they would carry secrets elsewhere), no retries (a refresh token is spent once), no proxy or
    certificate settings from the environment, no cookies.
    """

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            # A kept connection that the provider has just closed would make "not sent" look like "no answer".
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=0),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": "token-dispenser", "Accept-Encoding": "identity"},
        )

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises: NotSent, NoAnswer."""
        try:
            return await _in_time(self._exchange(request))
        except _NEVER_SENT as error:
            raise NotSent(f"The provider was not reached: {type(error).__name__}.") from error
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise NoAnswer(f"The provider's answer is lost: {type(error).__name__}.") from error

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        sending = self._client.stream(
            request.method, request.url, headers=dict(request.headers), content=request.body
        )
        async with sending as response:
            body = await _bounded(response)
        return HttpResponse(status=response.status_code, headers=dict(response.headers), body=body)


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


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LONGEST_BODY_BYTES:
            raise NoAnswer(f"The provider's answer is longer than {LONGEST_BODY_BYTES} bytes.")
    return bytes(body)
