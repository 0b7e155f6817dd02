from datetime import timedelta
from http import HTTPStatus
from typing import Final

import structlog

from shared.envelope import open_handback
from shared.errors import ConfigurationError, KeyMissing, SealBroken
from shared.model import Handback, HandbackId, RefreshToken
from shared.ports import HttpRequest
from workers import decision, oauth
from workers.bench import Bench
from workers.decision import LEASE_SECONDS
from workers.providers import Registration
from workers.settlement import Done, Failed, Result, Skipped
from workers.standing import Crowded

#: After so long a provider is not asked any more.
PATIENCE: Final = timedelta(days=1)
#: What became of a handback where nothing had to be sent.
NOT_OFFERED: Final = "not_offered"
log = structlog.get_logger()


class Handbacks:
    """Gives revoked grants' refresh tokens back to their providers (RFC 7009).

    Asking twice is harmless, so there is neither intent nor spool: what has not come to its end is announced
    again once the lease has run out.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def run(self, handback_id: HandbackId) -> Result:
        """Tell the provider, and forget the credential. Raises: StoreUnavailable."""
        bench, now = self._bench, self._bench.clock()
        until = now + timedelta(seconds=LEASE_SECONDS)
        handback = await bench.store.handbacks.take(handback_id, holder=bench.name, now=now, until=until)
        if handback is None:
            return Skipped("ended")
        registration = await bench.providers.registration(handback.service)
        if registration is None:
            return await self._end(handback, "undeclared")
        try:
            request = await self._request(handback, registration)
        except ConfigurationError as error:
            # A declaration can be put right: one that was altered for an hour leaves no token alive.
            return await self._later(handback, error.code)
        except (SealBroken, KeyMissing) as error:
            return await self._end(handback, error.code)
        if request is None:
            return await self._end(handback, NOT_OFFERED)
        return await self._send(handback, registration, request)

    async def _request(self, handback: Handback, registration: Registration) -> HttpRequest | None:
        credential = open_handback(self._bench.keys, handback)
        if not isinstance(credential, RefreshToken):
            return None
        secrets = await self._bench.providers.secrets(registration)
        now = self._bench.clock()
        jti = f"{handback.id}.{now.timestamp()}"
        return oauth.revocation(registration.provider, secrets, credential, now=now, jti=jti)

    async def _send(self, handback: Handback, registration: Registration, request: HttpRequest) -> Result:
        try:
            async with registration.standing.turn():
                answer = await self._bench.endpoint.tell(request)
        except Crowded:
            return Skipped("crowded")
        status = None if answer is None else answer.status
        if decision.told(status):
            return await self._end(handback, "ok" if status == HTTPStatus.OK else f"http_{status}")
        return await self._later(handback, "gave_up")

    async def _later(self, handback: Handback, in_the_end: str) -> Result:
        if self._bench.clock() - handback.created_at > PATIENCE:
            return await self._end(handback, in_the_end)
        return Skipped("later")

    async def _end(self, handback: Handback, outcome: str) -> Result:
        if outcome not in ("ok", NOT_OFFERED):
            log.warning(
                "A provider has not taken a refresh token back", service=handback.service, why=outcome
            )
        audited = await self._bench.audit.record(
            "grant.handed_back",
            outcome,
            service=handback.service,
            owner=handback.owner,
            generation=handback.generation,
        )
        if audited:
            await self._bench.store.handbacks.end(handback.id)
        return Done(handback.generation) if outcome == "ok" else Failed(outcome)
