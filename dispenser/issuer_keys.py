import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from dispenser.declared_rules import endpoint
from dispenser.provider_metadata import addresses
from shared.errors import IssuerUnavailable
from shared.model import Issuer, IssuerName
from shared.ports import HttpRequest, NoAnswer, NotSent, ProviderHttp

#: Keys are read again after this; a key that an issuer has withdrawn is taken for as long.
FRESH_SECONDS: Final = 300.0
#: While the issuer does not answer, its keys are good for this long.
STALE_SECONDS: Final = 3600.0
#: An unknown key's id makes the keys be read again, and so does a failure, not more often than this: anybody
#: can make an id up, and nobody should wait in a line for an issuer that hangs.
BETWEEN_SECONDS: Final = 10.0
#: An answer that takes longer is none.
PATIENCE_SECONDS: Final = 10.0
HTTP_OK: Final = 200
Jwk = Mapping[str, Any]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Held:
    of: Issuer
    #: None: there never were any, or they are too old.
    keys: tuple[Jwk, ...] | None
    read_at: float
    tried_at: float


class IssuerKeys:
    """The public keys of issuers (RFC 7517), read when they are needed and kept for a while."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http
        self._held: dict[IssuerName, _Held] = {}
        self._one_at_a_time: defaultdict[IssuerName, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, issuer: Issuer, key_id: str | None) -> Sequence[Jwk]:
        """All keys of the issuer, one of that id among them where it has one. Raises: IssuerUnavailable."""
        if issuer.keys:
            return issuer.keys
        async with self._one_at_a_time[issuer.name]:
            held = self._held.get(issuer.name)
            if held is None or held.of != issuer:
                held = _Held(issuer, None, 0.0, -math.inf)
            if not _enough(held, key_id, _now()):
                held = self._held[issuer.name] = await self._tried(held)
        if held.keys is None or _now() - held.read_at >= STALE_SECONDS:
            raise IssuerUnavailable(str(IssuerUnavailable.__doc__))
        return held.keys

    async def _tried(self, held: _Held) -> _Held:
        """With the keys as they are now, or as they were where they cannot be read."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                keys = await self._read(held.of)
        except (NotSent, NoAnswer, ValueError, RecursionError, TimeoutError) as error:
            log.warning("An issuer's keys cannot be read", issuer=held.of.name, error=type(error).__name__)
            return replace(held, tried_at=_now())
        return _Held(held.of, keys, _now(), _now())

    async def _read(self, issuer: Issuer) -> tuple[Jwk, ...]:
        document = await self._document(issuer, issuer.jwks_url or await self._jwks_url(issuer))
        keys = document.get("keys") if document else None
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise ValueError("no key set")
        return tuple(keys)

    async def _jwks_url(self, issuer: Issuer) -> str:
        """From the issuer's metadata (OpenID Connect Discovery §4, RFC 8414 §3), which has to be its own."""
        for address in reversed(addresses(issuer.issuer)):
            document = await self._document(issuer, address)
            if document is not None:
                url, own = document.get("jwks_uri"), document.get("issuer") == issuer.issuer
                if own and isinstance(url, str) and endpoint(url, issuer.insecure_local):
                    return url
                raise ValueError("metadata of another issuer, or without usable keys")
        raise ValueError("no metadata")

    async def _document(self, issuer: Issuer, url: str) -> Mapping[str, Any] | None:
        request = HttpRequest(
            method="GET",
            url=url,
            headers={"Accept": "application/json"},
            body=b"",
            local=issuer.insecure_local,
        )
        response = await self._http.send(request)
        document = json.loads(response.body) if response.status == HTTP_OK else None
        return document if isinstance(document, dict) else None


def _enough(held: _Held, key_id: str | None, now: float) -> bool:
    """They are fresh and hold the key, or were asked for a moment ago."""
    if now - held.tried_at < BETWEEN_SECONDS:
        return True
    known = key_id is None or any(key.get("kid") == key_id for key in held.keys or ())
    return held.keys is not None and known and now - held.read_at < FRESH_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
