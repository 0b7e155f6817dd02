from datetime import datetime, timedelta
from typing import Final

import structlog

from shared import expiry
from shared.envelope import open_credential
from shared.errors import ConfigurationError, KeyMissing, OtherClient, SealBroken, StoreUnavailable
from shared.model import Grant, GrantId, GrantState
from shared.ports import Claim, Failure, HttpRequest, Unclaimed
from workers import decision, oauth
from workers.bench import Bench
from workers.conclusion import Conclusion
from workers.decision import LEASE_SECONDS
from workers.providers import Registration
from workers.pulse import Pulse
from workers.settlement import NEXT_SECRET, Busy, Postponed, Result, Skipped
from workers.spool import SpoolUnavailable
from workers.spool_entry import Entry, Purpose
from workers.standing import Crowded, Turn

CIRCUIT_OPEN_SECONDS: Final = 60.0
NOT_READY_SECONDS: Final = 10.0
RESTORED: Final = (
    "A grant's row is older than the audit, so its credential is not sent: its owner has to connect"
)
_RESTORED_FAILURE: Final = Failure(
    state=GrantState.REAUTH_REQUIRED, error="restored_from_backup", refresh_at=None
)
log = structlog.get_logger()


class Rotation:
    """A grant's way from one token to the next, in an order that loses nothing wherever it breaks off:

    intent journalled (its commit proves that the database writes) -> room in the spool -> request sent ->
    sealed answer on disk -> and the rest is `Conclusion`'s, which the replay takes up after a crash.
    """

    def __init__(self, bench: Bench, conclusion: Conclusion) -> None:
        self._bench = bench
        self._conclusion = conclusion
        self._looking = Pulse()

    async def run(self, grant_id: GrantId, generation: int) -> Result:
        """Rotate a grant, if it still is at this generation and its time has come. Must not be cancelled.

        Raises: StoreUnavailable, before anything was sent.
        """
        if self._bench.endpoint.holds(grant_id):
            return Busy()
        await self._looking.wait()
        grant = await self._bench.store.grants.get(grant_id)
        hindrance = decision.hindrance(grant, generation, self._bench.clock())
        if grant is None or hindrance is not None:
            return Skipped(hindrance or "missing")
        registration = await self._bench.providers.registration(grant.service)
        if registration is None:
            return Skipped("undeclared")
        try:
            return await self._waited(grant, registration)
        except Crowded:
            return Postponed(NOT_READY_SECONDS, "crowded")

    async def _waited(self, grant: Grant, registration: Registration) -> Result:
        """At the provider's turn. Raises: Crowded, StoreUnavailable."""
        standing = registration.standing
        if standing.crowded:
            raise Crowded
        if standing.pace.pause_seconds(now := self._bench.clock()):
            return await self._closed_off(registration, now)
        result: Result = NEXT_SECRET
        while result == NEXT_SECRET:
            async with standing.turn() as turn:
                result = await self._in_turn(grant, registration, turn)
        return result

    async def _closed_off(self, registration: Registration, now: datetime) -> Postponed:
        """The provider is to be left alone, and agents that wait are told."""
        pause = registration.standing.pace.pause_seconds(now)
        await self._bench.incidents.closed_off(registration)
        return Postponed(pause, "paused") if pause else Postponed(CIRCUIT_OPEN_SECONDS, "circuit_open")

    async def _in_turn(self, grant: Grant, registration: Registration, turn: Turn) -> Result:
        if not turn.begin(now := self._bench.clock()):
            return await self._closed_off(registration, now)
        claim = await self._bench.claims.take(grant)
        if isinstance(claim, Unclaimed):
            return Busy() if claim.why == "busy" else Skipped(claim.why)
        if (why := self._hindrance(claim.grant, registration, grant.generation)) is not None:
            await self._unsent(claim, why)
            return Skipped(why)
        # What the audit knew then was in the row first, unless the row is an older one.
        if decision.is_restored(claim.grant, registration.provider, claim.audited):
            log.critical(RESTORED, grant=grant.id, generation=claim.grant.generation, audited=claim.audited)
            return await self._conclusion.fail(claim.intent, claim.grant, _RESTORED_FAILURE)
        return await self._asked(claim, registration, turn)

    async def _asked(self, claim: Claim, registration: Registration, turn: Turn) -> Result:
        if not await turn.to_ask():
            return await self._unsent(claim, "closed_off")
        # Made when it can be sent: what it says of the client's key is good for a minute.
        request = await self._request(claim, registration)
        if request is None:
            return await self._static(claim)
        if not isinstance(request, HttpRequest):
            return request
        return await self._send(claim, registration, request, turn)

    def _hindrance(self, grant: Grant, registration: Registration, generation: int) -> str | None:
        """Looked at again under the lease: somebody may have failed with it since."""
        now = self._bench.clock()
        if decision.must_wait(grant, registration.provider, now):
            return "late"
        return decision.hindrance(grant, generation, now)

    async def _send(
        self, claim: Claim, registration: Registration, request: HttpRequest, turn: Turn
    ) -> Result:
        entry, bench = _entry(claim), self._bench
        lease_until = claim.intent.opened_at + timedelta(seconds=LEASE_SECONDS)
        try:
            async with bench.endpoint.reserved(entry):
                if not turn.is_open:
                    return await self._unsent(claim, "closed_off")
                if not decision.may_send(lease_until, bench.clock()):
                    return await self._unsent(claim, "lease_too_short")
                answer = await bench.endpoint.ask(entry, request, registration.standing.hear)
                if answer is not None and answer.accepted:
                    # After a refusal the next one asks only once it is known what that says of the provider.
                    turn.end()
                return await self._conclusion.conclude(claim.intent, answer, claim.grant)
        except SpoolUnavailable as error:
            log.critical("Nothing is refreshed without a spool", why=str(error))
            return await self._unsent(claim, error.code)

    async def _request(self, claim: Claim, registration: Registration) -> HttpRequest | Result | None:
        """The request, or what came of trying to make one. None: nothing renews this token."""
        bench = self._bench
        try:
            credential = open_credential(bench.keys, claim.grant)
            return oauth.token_request(
                registration.provider,
                await bench.providers.secrets(registration),
                registration.service,
                credential,
                now=bench.clock(),
                jti=claim.intent.id,
            )
        except SealBroken:
            return await self._conclusion.fail(claim.intent, claim.grant, _final("seal_broken"))
        except KeyMissing as error:
            # Of this grant's credential: the provider and its other grants have nothing to do with it.
            log.critical("A grant waits for a key", grant=claim.grant.id, why=str(error))
            return await self._unsent(claim, error.code)
        except OtherClient as error:
            await bench.incidents.other_client(registration, error)
            failure = decision.other_client(claim.grant, bench.clock(), bench.entropy())
            return await self._conclusion.fail(claim.intent, claim.grant, failure)
        except ConfigurationError as error:
            return await self._misconfigured(claim, registration, error)
        except StoreUnavailable as error:
            # The claim would stand until its holder counts as gone, which may be longer than a grace.
            return await self._unsent(claim, error.code)

    async def _misconfigured(
        self, claim: Claim, registration: Registration, error: ConfigurationError
    ) -> Result:
        log.critical("A provider's grants are not refreshed", why=str(error))
        await self._bench.incidents.client_refused(registration, 1, error.code, self._bench.clock())
        return await self._unsent(claim, error.code)

    async def _static(self, claim: Claim) -> Result:
        """A token that nothing renews is good until it ends, whatever an agent says of it."""
        if expiry.remaining_seconds(claim.grant.token_expires_at, self._bench.clock()) <= 0:
            return await self._conclusion.fail(claim.intent, claim.grant, _final("no_refresh_token"))
        await self._unsent(claim, "static")
        return Skipped("static")

    async def _unsent(self, claim: Claim, why: str) -> Result:
        # Its room in the spool first: a replay that finds it would take an answer for lost.
        await self._bench.endpoint.forget(claim.intent.id)
        await self._bench.claims.release(claim.intent, why)
        return Postponed(NOT_READY_SECONDS, why)


def _entry(claim: Claim) -> Entry:
    return Entry(
        id=claim.intent.id,
        purpose=Purpose.ROTATION,
        grant_id=claim.grant.id,
        owner=claim.grant.owner,
        generation=claim.intent.generation,
    )


def _final(error: str) -> Failure:
    return Failure(state=GrantState.REAUTH_REQUIRED, error=error, refresh_at=None)
