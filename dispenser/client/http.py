"""The way to the vault over HTTP, with pooled connections."""

import asyncio
import math
import secrets
import time
from typing import Any, Final
from urllib.parse import quote

import httpx

from dispenser.client import dpop, http_reply
from dispenser.client.certificate import mistrust
from dispenser.client.credential import Credential
from dispenser.client.door import Door
from dispenser.client.errors import VaultError, VaultUnreachable
from dispenser.protocol import Call, ChildCall, RejectedCall, RenewCall, Reply, TokenCall, service_of

#: An address that does not even answer the handshake is tried again rather than waited for.
_CONNECT_SECONDS: Final = 5.0
_TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 §2.1
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"


class HttpTransport:
    """One request per call."""

    def __init__(self, door: Door) -> None:
        self._url = door.url
        self._credential = door.credential
        self._key = door.key
        self._authority = door.authority
        self._http: httpx.AsyncClient

    async def open(self) -> None:
        self._http = httpx.AsyncClient(
            base_url=self._url,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            verify=self._authority or True,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def adopt(self, credential: Credential) -> None:
        self._credential = credential

    def trouble(self) -> VaultError | None:
        return None

    async def ask(self, call: Call, *, deadline: float) -> Reply:
        request = self._proven(self._request(call, wait_seconds=deadline - asyncio.get_running_loop().time()))
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            if (untrusted := mistrust(error)) is not None:
                raise untrusted from error
            raise VaultUnreachable(
                f"The vault cannot be reached ({type(error).__name__}). Check VAULT_URL and the gateway."
            ) from error
        return _reply(response, service=service_of(call))

    def _request(self, call: Call, *, wait_seconds: float) -> httpx.Request:
        match call:
            case TokenCall():
                return self._http.build_request(
                    "GET", self._path(call.service), params=_query(call), headers=self._headers(wait_seconds)
                )
            case RejectedCall():
                return self._http.build_request(
                    "POST",
                    f"{self._path(call.service)}/rejected",
                    params={} if call.owner is None else {"owner": call.owner},
                    json={"generation": call.generation},
                    headers=self._headers(wait_seconds),
                )
            case RenewCall():
                return self._http.build_request("POST", "/v1/token", data=self._exchange())
            case ChildCall():
                return self._http.build_request("POST", "/v1/token", data=self._exchange() | _narrowed(call))

    def _proven(self, request: httpx.Request) -> httpx.Request:
        """The request with a proof of the key that the vault token is bound to, where it is."""
        if self._key is not None:
            request.headers["DPoP"] = dpop.proof(
                self._key,
                method=request.method,
                url=str(request.url),
                token=self._credential.text,
                proof_id=secrets.token_urlsafe(16),
                now=time.time(),
            )
        return request

    def _path(self, service: str) -> str:
        return f"/v1/agents/{quote(self._credential.agent, safe='')}/credentials/{quote(service, safe='')}"

    def _headers(self, wait_seconds: float) -> dict[str, str]:
        """The vault token, and how long an answer is waited for (RFC 7240 §4.3)."""
        return {
            "Authorization": f"{'DPoP' if self._key else 'Bearer'} {self._credential.text}",
            "Prefer": f"wait={max(1, math.ceil(wait_seconds))}",
        }

    def _exchange(self) -> dict[str, str]:
        """RFC 8693 §2.1: the vault token for a fresh one."""
        return {
            "grant_type": _TOKEN_EXCHANGE,
            "subject_token": self._credential.text,
            "subject_token_type": _JWT,
        }


def _query(call: TokenCall) -> dict[str, Any]:
    query = {
        "min_ttl": call.min_ttl,
        "scope": None if call.scopes is None else " ".join(call.scopes),
        "owner": call.owner,
        "purpose": call.purpose or None,
    }
    return {name: value for name, value in query.items() if value is not None}


def _narrowed(call: ChildCall) -> dict[str, str]:
    fields = {
        "actor": call.actor,
        "services": call.services and " ".join(call.services),
        "scope": call.scopes and " ".join(call.scopes),
        "owner": call.owner,
        "ttl_seconds": None if call.ttl is None else str(call.ttl),
        "dpop_jkt": call.key,
    }
    return {name: value for name, value in fields.items() if value}


def _reply(response: httpx.Response, *, service: str) -> Reply:
    try:
        document = response.json() if response.content else None
    except ValueError:
        document = None  # a proxy's page: its status says enough
    try:
        return http_reply.reply(
            response.status_code,
            document,
            retry_after=response.headers.get("Retry-After"),
            service=service,
        )
    except ValueError as error:
        raise VaultError(
            f"The vault's answer cannot be read: {error}. Check that VAULT_URL is the gateway's address."
        ) from error
