import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from shared import expiry
from shared.envelope import open_enrolment
from shared.errors import ConfigurationError, SealBroken, StoreUnavailable
from shared.model import (
    AccessToken,
    AuthorizationCode,
    Credential,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Grant,
    GrantId,
    Presented,
    Provider,
    RefusalKind,
    StaticToken,
)
from shared.ports import HttpRequest
from workers import decision, enrolled_grant, lifecycle, oauth, outcome, renewal
from workers.answer import Answer
from workers.bench import Bench
from workers.decision import LEASE_SECONDS
from workers.outcome import NO_ANSWER, Issued, Refused
from workers.providers import Registration
from workers.renewal import Ends
from workers.settlement import NEXT_SECRET, Done, Failed, Postponed, Result, Skipped, Spooled
from workers.spool import SpoolUnavailable
from workers.spool_entry import Entry, Purpose
from workers.standing import Crowded, Turn
from workers.watch import Watch

#: Times a grant may be written by others meanwhile, before an answer is left to the next replay.
STORE_TRIES: Final = 5
NOT_READY_SECONDS: Final = 10.0
#: Seconds for which a lease must be seen to have run out until others may ask: several replays of a holder's.
LAPSED_SECONDS: Final = 60.0
log = structlog.get_logger()


class Enrolments:
    """Turns what owners present into grants: the same order as a rotation's, with a lease for its intent.

    Asking again after a lost answer risks nothing here: was the code or token spent, then so it is, and no
    grant hangs on it yet.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        #: Whose lease has run out, and until when it ran: its holder may have an answer in its spool.
        self._lapsed: Mapping[EnrolmentId, datetime] = {}
        self._watch: Watch[tuple[EnrolmentId, datetime]] = Watch(asyncio.get_running_loop().time)

    async def watch(self) -> None:
        """Look which leases have run out. Raises: StoreUnavailable."""
        self._lapsed = await self._bench.store.enrolments.lapsed(self._bench.clock())
        self._watch.look(self._lapsed.items())

    async def run(self, enrolment_id: EnrolmentId) -> Result:
        """Redeem what is presented. Must not be cancelled.

        Raises: StoreUnavailable, SpoolUnavailable, KeyMissing, before anything was sent.
        """
        bench, now = self._bench, self._bench.clock()
        lease_until = now + timedelta(seconds=LEASE_SECONDS)
        enrolment = await bench.store.enrolments.take(
            enrolment_id, holder=bench.name, now=now, until=lease_until, over=self._over(enrolment_id)
        )
        if enrolment is None:
            return Skipped("ended")
        registration = await bench.providers.registration(enrolment.service)
        if registration is None:
            return await self._fail(enrolment, "undeclared")
        try:
            return await self._redeem(enrolment, registration, lease_until)
        except SealBroken as error:
            return await self._fail(enrolment, error.code)
        except ConfigurationError as error:
            log.critical("A service cannot be connected", service=enrolment.service, why=str(error))
            return await self._fail(enrolment, error.code)

    def _over(self, enrolment_id: EnrolmentId) -> datetime | None:
        """Until when a lease ran whose holder does not come back."""
        until = self._lapsed.get(enrolment_id)
        if until is None or self._watch.seconds((enrolment_id, until)) < LAPSED_SECONDS:
            return None
        return until

    async def conclude(self, enrolment: Enrolment, answer: Answer | None) -> Result:
        """Have an answer take effect. May be repeated. None: it is lost, and the enrolment still pends."""
        try:
            result = await self._concluded(enrolment, answer)
        except StoreUnavailable as error:
            log.warning("A provider's answer waits in the spool", enrolment=enrolment.id, why=str(error))
            return Spooled()
        if not isinstance(result, Spooled):
            await self._bench.endpoint.forget(enrolment.id)
        return result

    async def _redeem(
        self, enrolment: Enrolment, registration: Registration, lease_until: datetime
    ) -> Result:
        presented = self._presented(enrolment)
        if isinstance(presented, StaticToken):
            return await self._keep_static(enrolment, registration, presented)
        attempt = 1

        async def ask() -> Result:
            return await self._ask(
                enrolment, registration, presented, attempt=attempt, lease_until=lease_until
            )

        result = await self._kept(enrolment) or await ask()
        while isinstance(result, Postponed):
            # An owner waits, and a code lives for minutes: again, as long as the lease is ours.
            attempt, pause = attempt + 1, max(result.seconds, self._backoff(attempt))
            if not decision.may_send(lease_until, self._bench.clock() + timedelta(seconds=pause)):
                break
            await asyncio.sleep(pause)
            result = await ask()
        return result

    async def _kept(self, enrolment: Enrolment) -> Result | None:
        """What came of an answer that has waited in the spool since an earlier lease. None: there is none."""
        answer = await self._bench.endpoint.kept(enrolment.id)
        return None if answer is None else await self.conclude(enrolment, answer)

    async def _ask(
        self,
        enrolment: Enrolment,
        registration: Registration,
        presented: Presented | None,
        *,
        attempt: int,
        lease_until: datetime,
    ) -> Result:
        standing = registration.standing
        try:
            async with standing.turn() as turn:
                if pause := standing.pace.pause_seconds(self._bench.clock()):
                    return Postponed(pause, "paused")
                if not await turn.to_ask():
                    return Postponed(NOT_READY_SECONDS, "closed_off")
                request = await self._request(enrolment, registration, presented, attempt)
                return await self._send(enrolment, registration, request, turn, lease_until)
        except Crowded:
            return Postponed(NOT_READY_SECONDS, "crowded")
        except SpoolUnavailable as error:
            log.critical("Nothing is connected without a spool", why=str(error))
            return Postponed(NOT_READY_SECONDS, error.code)

    async def _send(
        self,
        enrolment: Enrolment,
        registration: Registration,
        request: HttpRequest,
        turn: Turn,
        lease_until: datetime,
    ) -> Result:
        """Raises: SpoolUnavailable, before anything is sent."""
        entry, endpoint = _entry(enrolment), self._bench.endpoint
        async with endpoint.reserved(entry):
            if not turn.is_open:
                await endpoint.forget(enrolment.id)
                return Postponed(NOT_READY_SECONDS, "closed_off")
            if not decision.may_send(lease_until, self._bench.clock()):
                await endpoint.forget(enrolment.id)
                return Postponed(NOT_READY_SECONDS, "lease_too_short")
            answer = await endpoint.ask(entry, request, registration.standing.hear)
            return await self.conclude(enrolment, answer)

    async def _request(
        self, enrolment: Enrolment, registration: Registration, presented: Presented | None, attempt: int
    ) -> HttpRequest:
        if presented is None:
            raise SealBroken("An enrolment holds nothing that could be presented.")
        request = oauth.token_request(
            registration.provider,
            await self._bench.providers.secrets(registration),
            registration.service,
            presented,
            now=self._bench.clock(),
            jti=f"{enrolment.id}.{attempt}.{self._bench.clock().timestamp()}",
        )
        if request is None:
            raise ConfigurationError([f"Service {enrolment.service}: a static token is not exchanged."])
        return request

    async def _concluded(self, enrolment: Enrolment, answer: Answer | None) -> Result:
        registration = await self._bench.providers.registration(enrolment.service)
        if enrolment.state is EnrolmentState.DONE or registration is None:
            return Skipped("ended")
        if answer is None:
            return await self._refused(enrolment, registration, NO_ANSWER, self._bench.clock())
        # None is presented where the enrolment ended meanwhile: only a code's answer cannot be had again.
        exchanged = isinstance(self._presented(enrolment), AuthorizationCode | None)
        read = outcome.read(answer, registration.provider, self._bench.clock(), code_exchange=exchanged)
        if isinstance(read, Refused):
            return await self._refused(enrolment, registration, read, answer.sent_at)
        await self._bench.incidents.client_accepted(registration)
        return await self._keep(enrolment, registration, answer, read)

    async def _refused(
        self, enrolment: Enrolment, registration: Registration, refused: Refused, sent_at: datetime
    ) -> Result:
        incidents = self._bench.incidents
        if refused.kind is RefusalKind.CLIENT_CONFIG:
            secrets = len((await self._bench.providers.secrets(registration)).client_secrets)
            if await incidents.client_refused(registration, secrets, refused.code, sent_at):
                return NEXT_SECRET
        if refused.kind is RefusalKind.RATE_LIMITED:
            await incidents.rate_limited(registration, refused.retry_after_seconds)
        if decision.ends_enrolment(refused):
            return await self._fail(enrolment, refused.code)
        return Postponed(refused.retry_after_seconds or 0.0, refused.code)

    async def _keep(
        self, enrolment: Enrolment, registration: Registration, answer: Answer, issued: Issued
    ) -> Result:
        provider, presented = registration.provider, self._presented(enrolment)
        credential = enrolled_grant.kept(presented, issued, provider, answer.client)
        for _ in range(STORE_TRIES):
            before, outgrown = await self._before(enrolment), await self._outgrown(enrolment)
            scopes = enrolled_grant.asked_scopes(presented, before, registration.service)
            token = enrolled_grant.issued_token(
                enrolment,
                before,
                credential,
                issued,
                provider,
                answer=answer,
                scopes=scopes,
                outgrown=outgrown,
            )
            ending = renewal.ends(issued, provider, credential, None, answer.sent_at)
            if await self._stored(
                enrolment, before, provider, credential=credential, token=token, ending=ending
            ):
                return Done(token.generation)
        return Spooled()

    async def _keep_static(
        self, enrolment: Enrolment, registration: Registration, presented: StaticToken
    ) -> Result:
        for _ in range(STORE_TRIES):
            before, outgrown = await self._before(enrolment), await self._outgrown(enrolment)
            token = enrolled_grant.static_token(
                enrolment,
                before,
                presented,
                registration.service,
                now=self._bench.clock(),
                outgrown=outgrown,
            )
            if await self._stored(
                enrolment,
                before,
                registration.provider,
                credential=presented,
                token=token,
                ending=renewal.NEVER,
            ):
                return Done(token.generation)
        return Postponed(NOT_READY_SECONDS, "contended")

    async def _stored(
        self,
        enrolment: Enrolment,
        before: Grant | None,
        provider: Provider,
        *,
        credential: Credential,
        token: AccessToken,
        ending: Ends,
    ) -> bool:
        bench, now = self._bench, self._bench.clock()
        grant = enrolled_grant.connected(
            bench.keys,
            enrolment,
            before,
            provider=provider,
            credential=credential,
            token=token,
            ending=ending,
            now=now,
            entropy=bench.entropy(),
        )
        events = lifecycle.connected(grant, before, enrolment.id, now)
        if not await bench.store.enrolments.succeed(enrolment.id, grant, now, events):
            return False
        await bench.shelf.put(grant)
        await bench.announcements.attempt(events)
        named = bench.token_fingerprint(token.value)
        await self._audit("grant.connected", "ok", enrolment, grant, token=named)
        return True

    async def _fail(self, enrolment: Enrolment, error: str) -> Result:
        await self._bench.store.enrolments.fail(enrolment.id, error, self._bench.clock())
        await self._audit("grant.connect_failed", error, enrolment, None)
        return Failed(error)

    async def _audit(
        self, action: str, result: str, enrolment: Enrolment, grant: Grant | None, *, token: str = ""
    ) -> None:
        await self._bench.audit.record(
            action,
            result,
            service=enrolment.service,
            owner=enrolment.owner,
            generation=grant.generation if grant else None,
            scopes=grant.scopes if grant else (),
            fingerprint=token,
        )

    async def _outgrown(self, enrolment: Enrolment) -> int:
        return await self._bench.store.audit.generation(enrolment.service, enrolment.owner)

    async def _before(self, enrolment: Enrolment) -> Grant | None:
        return await self._bench.store.grants.find(enrolment.service, enrolment.owner)

    def _presented(self, enrolment: Enrolment) -> Presented | None:
        """None: the enrolment ended, and what was presented is wiped. Raises: SealBroken."""
        if enrolment.sealed is None:
            return None
        return open_enrolment(
            self._bench.keys, enrolment.id, enrolment.service, enrolment.owner, enrolment.sealed
        )

    def _backoff(self, attempt: int) -> float:
        return expiry.backoff_seconds(attempt, self._bench.entropy())


def _entry(enrolment: Enrolment) -> Entry:
    return Entry(
        id=enrolment.id,
        purpose=Purpose.ENROLMENT,
        grant_id=GrantId(enrolment.id),
        owner=enrolment.owner,
        generation=0,
    )
