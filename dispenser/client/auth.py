"""Access tokens for httpx: put into each request, and replaced once when the API no longer takes one."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

import httpx

from dispenser.client.token import Token


class VaultAuth(httpx.Auth):
    """For `httpx.AsyncClient(auth=...)`. Request bodies are read into memory, to be sent twice."""

    requires_request_body = True

    def __init__(
        self, current: Callable[[], Awaitable[Token]], rejected: Callable[[Token], Awaitable[None]]
    ) -> None:
        self._current = current
        self._rejected = rejected

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await request.aread()
        token = await self._current()
        request.headers["Authorization"] = token.authorization
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            await self._rejected(token)
            request.headers["Authorization"] = (await self._current()).authorization
            yield request

    def sync_auth_flow(self, _request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise RuntimeError("The vault is asked asynchronously: use vault.auth with httpx.AsyncClient.")
