from dataclasses import replace
from typing import Final

import structlog

from shared.envelope import fingerprint, open_credential, seal_credential, seal_spooled
from shared.errors import ConfigurationError, StoreUnavailable
from shared.model import Grant, Handback, HandbackId, Intent, RefreshToken, RefusalKind
from shared.ports import Failure, Renewal
from workers import decision, lifecycle, outcome, renewal
from workers.answer import Answer
from workers.bench import Bench
from workers.decision import Apply, HandBack, Park
from workers.outcome import NO_ANSWER, Issued, Refused
from workers.providers import Registration
from workers.pulse import Pulse
from workers.settlement import NEXT_SECRET, Done, Failed, Postponed, Result, Skipped, Spooled

#: Compare-and-swaps lost in a row before an answer is left to the next replay.
COMMIT_TRIES: Final = 5
CLIENT_REFUSED_SECONDS: Final = 60.0
log = structlog.get_logger()


class Conclusion:
    """Brings a rotation whose request may have been sent to its end. May be repeated at any point.

    Commit -> cache -> event -> spool deleted. The answer stays in the spool until SQL has what it says.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._committing = Pulse()

    async def conclude(self, intent: Intent, answer: Answer | None, seen: Grant | None = None) -> Result:
        """Have an answer take effect. None: it is lost. `seen`: the grant as it was claimed, which mostly is
        how it is found."""
        try:
            result = await self._concluded(intent, answer, seen)
        except StoreUnavailable as error:
            log.warning("A provider's answer waits in the spool", intent=intent.id, why=str(error))
            return Spooled()
        if not isinstance(result, Spooled):
            await self._bench.endpoint.forget(intent.id)
        return result

    async def fail(self, intent: Intent, grant: Grant, failure: Failure) -> Result:
        """Record that no token came. A loser whose grant has moved on meanwhile has nothing to report.

        Raises: StoreUnavailable.
        """
        bench, now = self._bench, self._bench.clock()
        address = bench.connect_url(grant.service, grant.owner)
        events = lifecycle.failed(grant, failure, intent.id, now, address)
        stored = await bench.store.rotations.fail(intent, failure, now=now, events=events)
        if stored is None:
            return await self._failed_before(intent)
        if not decision.tells(stored, intent, failure.error):
            return await self._superseded(intent, stored)
        await bench.announcements.attempt(events)
        return await self._told(stored, failure.error)

    async def _failed_before(self, intent: Intent) -> Result:
        """The intent is closed. Where a failure closed it whose confirmation or audit record was lost, it is
        told of now, whatever is known of it here: the answer may be lost since. Its events are in the outbox.
        """
        store = self._bench.store
        stored, known = await store.grants.get(intent.grant_id), await store.rotations.intent(intent.id)
        outcome = None if known is None else known[1]
        if stored is None or outcome is None or not decision.tells(stored, intent, outcome):
            return await self._superseded(intent, stored)
        return await self._told(stored, outcome)

    async def _told(self, failed: Grant, error: str) -> Result:
        told = await self._audit("grant.refresh_failed", error, failed, reason=failed.state.value)
        return Failed(error) if told else Spooled()

    async def _concluded(self, intent: Intent, answer: Answer | None, seen: Grant | None) -> Result:
        grant = seen or await self._bench.store.grants.get(intent.grant_id)
        registration = await self._bench.providers.registration(grant.service) if grant else None
        if grant is None or registration is None:
            return await self._superseded(intent, grant)
        if answer is None:
            return await self._refused(intent, registration, NO_ANSWER)
        read = outcome.read(answer, registration.provider, self._bench.clock())
        if isinstance(read, Refused):
            return await self._refused(intent, registration, read)
        await self._bench.incidents.client_accepted(registration)
        return await self._keep(intent, grant, registration, answer, read)

    # ----------------------------------------------------------------------------------------------- a token

    async def _keep(
        self, intent: Intent, grant: Grant | None, registration: Registration, answer: Answer, issued: Issued
    ) -> Result:
        """Commit where the answer's parent is; look again wherever somebody was faster."""
        fresh = renewal.fresh_credential(issued, registration.provider, answer.client)
        child = fingerprint(intent.grant_id, fresh) if fresh else intent.fingerprint
        for _ in range(COMMIT_TRIES):
            match decision.lineage(intent, child, grant):
                case Apply() if grant is not None:
                    columns = self._columns(grant, registration, answer, issued)
                    token = self._bench.token_fingerprint(issued.access_token)
                    if await self._committed(intent, grant, columns, token):
                        return Done(grant.generation + 1)
                case Park() if grant is not None:
                    return await self._park(intent, grant, answer)
                case HandBack() if grant is not None and fresh is not None:
                    return await self._hand_back(intent, grant, fresh)
                case _:
                    return await self._superseded(intent, grant)
            grant = await self._bench.store.grants.get(intent.grant_id)
        return Spooled()

    def _columns(self, grant: Grant, registration: Registration, answer: Answer, issued: Issued) -> Renewal:
        bench, provider = self._bench, registration.provider
        fresh = renewal.fresh_credential(issued, provider, answer.client)
        credential = fresh or open_credential(bench.keys, grant)
        token = renewal.access_token(
            issued,
            provider,
            credential,
            grant_id=grant.id,
            generation=grant.generation + 1,
            sent_at=answer.sent_at,
            scopes=grant.scopes,
        )
        return renewal.renewal(
            bench.keys,
            service=grant.service,
            owner=grant.owner,
            provider=provider,
            credential=credential,
            token=token,
            ending=renewal.ends(issued, provider, credential, grant, answer.sent_at),
            entropy=bench.entropy(),
        )

    async def _committed(self, intent: Intent, grant: Grant, columns: Renewal, token: str) -> bool:
        """`token`: its fingerprint."""
        await self._committing.wait()
        now, bench, generation = self._bench.clock(), self._bench, grant.generation + 1
        events = lifecycle.renewed(grant, generation, intent.id, now)
        ends_at = columns.credential_expires_at
        if ends_at is not None and columns.warn_at is not None and columns.warn_at <= now:
            events.append(lifecycle.ending(grant, ends_at, generation, intent.id, now))
            columns = replace(columns, warn_at=None)
        stored = await bench.store.rotations.commit(
            intent,
            expected_generation=grant.generation,
            expected_fingerprint=intent.fingerprint,
            expected_state=grant.state,
            renewal=columns,
            now=now,
            events=events,
        )
        if stored is None:
            return False
        await bench.shelf.put(stored)
        await bench.announcements.attempt(events)
        await self._audit("grant.refreshed", "ok", stored, token=token)
        return True

    async def _park(self, intent: Intent, grant: Grant, answer: Answer) -> Result:
        sealed = seal_spooled(self._bench.keys, grant.id, grant.owner, intent.generation, answer.pack())
        if not await self._bench.store.rotations.park(intent, sealed, self._bench.clock()):
            return await self._superseded(intent, grant)
        log.critical(
            "An answer belongs to a credential that was replaced meanwhile; it is parked", grant=grant.id
        )
        await self._audit("grant.parked", "parked", grant, reason="The credential was replaced meanwhile.")
        return Skipped("parked")

    async def _hand_back(self, intent: Intent, grant: Grant, fresh: RefreshToken) -> Result:
        """What was revoked with the grant is spent by now, and this came in its place.

        A repetition may find it gone back already; the provider is told twice then, which is harmless.
        """
        now, generation = self._bench.clock(), intent.generation + 1
        handback = Handback(
            id=HandbackId(intent.id),
            grant_id=grant.id,
            service=grant.service,
            owner=grant.owner,
            generation=generation,
            sealed_credential=seal_credential(self._bench.keys, grant.id, grant.owner, generation, fresh),
            created_at=now,
        )
        await self._bench.store.rotations.hand_back(intent, handback, now)
        return Skipped("revoked")

    async def _superseded(self, intent: Intent, stored: Grant | None) -> Result:
        """Somebody was faster, or this has been concluded before: what they stored is served."""
        await self._bench.store.rotations.release(intent, "superseded", self._bench.clock())
        if stored is not None:
            await self._bench.shelf.put(stored)
        return Skipped("superseded")

    # -------------------------------------------------------------------------------------------- no token

    async def _refused(self, intent: Intent, registration: Registration, refused: Refused) -> Result:
        bench = self._bench
        if refused.kind is RefusalKind.RATE_LIMITED:
            # First of all: the next ones are about to ask.
            await bench.incidents.rate_limited(registration, refused.retry_after_seconds)
        # Read anew: what became of the grant meanwhile tells whether the refusal is its own.
        grant = await bench.store.grants.get(intent.grant_id)
        if grant is None:
            return await self._superseded(intent, grant)
        failure = decision.failure(
            refused,
            grant,
            registration.provider,
            now=bench.clock(),
            entropy=bench.entropy(),
            asked_at=intent.opened_at,
        )
        if failure is None:
            return await self._client_refused(intent, registration, refused)
        if refused.kind is RefusalKind.DEAD:
            await bench.incidents.client_accepted(registration)
        return await self.fail(intent, grant, failure)

    async def _client_refused(self, intent: Intent, registration: Registration, refused: Refused) -> Result:
        """The provider refuses us, so no grant is to blame and none is touched."""
        bench, secrets = self._bench, await self._secrets(registration)
        await bench.store.rotations.release(intent, refused.code, bench.clock())
        if await bench.incidents.client_refused(registration, secrets, refused.code, intent.opened_at):
            return NEXT_SECRET
        return Postponed(CLIENT_REFUSED_SECONDS, refused.code)

    async def _secrets(self, registration: Registration) -> int:
        try:
            return len((await self._bench.providers.secrets(registration)).client_secrets)
        except ConfigurationError:
            return 0

    async def _audit(
        self, action: str, result: str, grant: Grant, *, token: str = "", reason: str = ""
    ) -> bool:
        return await self._bench.audit.record(
            action,
            result,
            service=grant.service,
            owner=grant.owner,
            generation=grant.generation,
            scopes=grant.scopes,
            fingerprint=token,
            reason=reason,
        )
