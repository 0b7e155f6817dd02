"""An OAuth client in a few lines, and the clock its provider goes by."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from dispenser.testing import Emulator
from dispenser.testing.codes import challenge_of

VERIFIER = "a-verifier-of-the-length-that-rfc-7636-asks-for"
CALLBACK = "http://127.0.0.1:8765/callback"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """An OAuth client in a few lines, without a vault."""

    def __init__(self, provider: Emulator, http: httpx.AsyncClient) -> None:
        self.provider = provider
        self.http = http

    @property
    def auth(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self.provider.client_id, self.provider.client_secret)

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post(self.provider.token_url, data=form, auth=self.auth)

    async def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    async def authorize(self, **changes: str) -> dict[str, str]:
        """What the callback would receive."""
        query = authorization_query(self) | changes
        answer = await self.http.get(self.provider.authorization_url, params=query)
        return callback_of(answer)

    async def redeem(self, code: str, **changes: str) -> httpx.Response:
        form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.token(grant_type="authorization_code", **form | changes)

    async def granted(self, *scopes: str) -> dict[str, Any]:
        """The tokens of a first refresh: `spent` is the refresh token that it cost."""
        spent = self.provider.issue_refresh_token("ada", scopes)
        return (await self.refresh(spent)).json() | {"spent": spent}

    async def call(self, access_token: str, path: str = "anything") -> int:
        headers = {"Authorization": f"Bearer {access_token}"}
        return (await self.http.get(f"{self.provider.api_url}/{path}", headers=headers)).status_code

    async def introspect(self, token: str) -> dict[str, Any]:
        answer = await self.http.post(self.provider.introspection_url, data={"token": token}, auth=self.auth)
        return answer.json()


def authorization_query(client: Client) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": client.provider.client_id,
        "redirect_uri": CALLBACK,
        "scope": "tasks:write chat:write",
        "state": "st",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }


def callback_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(CALLBACK)
    return {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
