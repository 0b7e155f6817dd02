"""The request path: check, policy, one look into the cache, decide, audit, reply.

Both doors call it. It never calls a provider.
"""

from collections.abc import Callable

import structlog

from dispenser import audit_record, question, replies, standing
from dispenser.admission import Admission
from dispenser.authentication import Authentication
from dispenser.catalogue_view import CatalogueView
from dispenser.decision import Hand, Refresh, Refuse, Want, decide, provider_down, usable
from dispenser.limits import Limits
from dispenser.lookup import Lookup
from dispenser.minting import Minting
from dispenser.policy import Denied
from dispenser.protocol import Call, ChildCall, Code, RejectedCall, RenewCall, Reply, TokenCall
from dispenser.question import Question
from dispenser.refresh_wait import RefreshWait
from dispenser.revocation import revoked
from dispenser.revocation_view import RevocationView
from dispenser.sender import speaks_for
from dispenser.vault_token import Identity, InvalidVaultToken
from shared.errors import (
    AuditUnavailable,
    BusUnavailable,
    QueueFull,
    StoreUnavailable,
    Unroutable,
)
from shared.keyring import Keyring
from shared.messages import Reason
from shared.model import AccessToken, AuditRecord, Grant, Owner, ServiceName
from shared.ports import AuditJournal, Bus, Cache, Clock, Store

UNSURE = "The vault cannot reach its database, and without it this cannot be answered safely."
UNHEARD = "The vault cannot reach the broker to ask for a refresh."
NEVER_ISSUED = "No token of that generation was ever issued: report the one that was rejected."
UNPROVEN = "The vault token is bound to its agent's key, and this request does not prove to hold it."
log = structlog.get_logger()


class Dispenser:
    """Answers agents' calls, as many at once as come."""

    def __init__(
        self,
        *,
        store: Store,
        cache: Cache,
        bus: Bus,
        keys: Keyring,
        catalogue: CatalogueView,
        revocations: RevocationView,
        journal: AuditJournal,
        clock: Clock,
        vault: str,
        connect_url: Callable[[ServiceName, Owner], str],
        new_id: Callable[[], str],
        limits: Limits | None = None,
    ) -> None:
        self._keys = keys
        self._catalogue = catalogue
        self._revocations = revocations
        self._journal = journal
        self._clock = clock
        self._connect_url = connect_url
        self._limits = limits or Limits()
        self.admission = Admission()
        self._authentication = Authentication(keys, vault, clock)
        self._lookup = Lookup(cache, store.grants, keys, clock)
        self._minting = Minting(
            keys=keys,
            catalogue=catalogue,
            lookup=self._lookup,
            revocations=revocations,
            journal=journal,
            clock=clock,
            vault=vault,
            new_id=new_id,
        )
        self._wait = RefreshWait(bus, cache, store.grants, clock)

    def stranger(self, vault_token: str, sender: str) -> Reply | None:
        """A vault token that is new to this process may be checked for this sender now; or the refusal."""
        if self._authentication.remembered(vault_token) is not None:
            return None
        return self.admission.stranger(sender)

    async def authenticate(
        self, vault_token: str, *, door: str, proven: str | None = None
    ) -> Identity | Reply:
        """Whom a vault token speaks for, or the refusal. Revocation is checked with each call.

        `proven`: thumbprint of the key that the caller has just proven to hold; a bound token takes its own.
        """
        try:
            identity = self._authentication.identify(vault_token)
        except InvalidVaultToken as error:
            return replies.unauthenticated(str(error))
        if identity.key is not None and identity.key != proven:
            return await self.refuse(UNPROVEN, door=door, identity=identity)
        return identity

    async def admit(
        self, identity: Identity, calls: int, *, request_id: str, door: str, deadline_seconds: float
    ) -> Reply | None:
        """Wait for the turn of a request of so many calls. None: `answer` each, and say when it has `ended`.

        A refusal, which has cost next to nothing, is for all of them.
        """
        limits = self._limits.of(self._catalogue.current.agents.get(identity.agent))
        refusal = await self.admission.admit(identity.agent, limits, calls, deadline_seconds)
        if refusal is not None:
            at = self._clock()
            await self._keep(
                audit_record.of_overload(refusal, identity, request_id=request_id, door=door, at=at)
            )
        return refusal

    def ended(self, identity: Identity) -> None:
        """One of the calls that were admitted has come to its end."""
        self.admission.ended(identity.agent)

    def vouched(self, broker_user: str, identity: Identity) -> bool:
        """Whether whom the broker knows a sender as may speak for the vault token's agent."""
        return speaks_for(broker_user, identity.agent, self._catalogue.current.agents)

    async def refuse(
        self,
        reason: str,
        *,
        door: str,
        broker_user: str | None = None,
        identity: Identity | None = None,
        request_id: str = "",
    ) -> Reply:
        """Write down a request that is refused whatever it asks for, and tell its sender why."""
        record = audit_record.of_refusal(
            reason,
            broker_user=broker_user,
            door=door,
            identity=identity,
            request_id=request_id,
            at=self._clock(),
        )
        await self._keep(record)
        return replies.unauthenticated(reason)

    async def _keep(self, record: AuditRecord) -> None:
        """Write down a refusal. No token leaves with it, so nothing waits for a journal that fails."""
        try:
            await self._journal.append(record)
        except AuditUnavailable:
            log.warning("A refusal is not in the audit", reason=record.reason)

    async def answer(
        self, identity: Identity, call: Call, *, request_id: str, door: str, deadline_seconds: float
    ) -> Reply:
        """One call's reply. Raises nothing for what the world does; the audit record is durable first."""
        if isinstance(call, RenewCall):
            return await self._minting.renew(identity)
        if isinstance(call, ChildCall):
            return await self._minting.delegate(identity, call, request_id=request_id, door=door)
        asked = question.put(
            self._catalogue.current,
            self._catalogue.policies,
            identity,
            call,
            request_id=request_id,
            door=door,
            deadline_seconds=deadline_seconds,
            now=self._clock(),
        )
        return await self._audited(asked, await self._resolved(asked))

    async def _resolved(self, asked: Question) -> Reply:
        if (fault := standing.fault(self._catalogue.current.agents, asked.identity)) is not None:
            return replies.unauthenticated(fault)
        if isinstance(asked.verdict, Denied):
            return replies.denied(asked.call.service)
        if not asked.known:
            return replies.not_found(asked.call.service)
        try:
            return await self._looked_up(asked)
        except StoreUnavailable:
            return replies.overloaded(asked.call.service, UNSURE)
        except (BusUnavailable, QueueFull, Unroutable):
            return replies.overloaded(asked.call.service, UNHEARD)

    async def _looked_up(self, asked: Question) -> Reply:
        epochs, token = await self._lookup.cached(asked.identity, asked.place)
        if revoked(asked.identity, epochs, self._revocations.moments):
            return replies.unauthenticated(replies.REVOKED)
        if isinstance(asked.call, TokenCall) and token and usable(token, asked.want, self._clock()):
            return self._handed(asked, token)
        # From here on it is the database and the refreshers that are waited for, which may take their time.
        with self.admission.aside():
            if isinstance(asked.call, RejectedCall):
                return await self._rejected(asked, asked.call.generation, token)
            return await self._refreshed(asked, token)

    async def _refreshed(self, asked: Question, token: AccessToken | None) -> Reply:
        """Look into the database and, where that does not do, wait for one refresh."""
        first_generation: int | None = None
        while True:
            grant, stored = await self._lookup.stored(asked.place)
            token = _newest(token, stored)
            match decide(grant, token, asked.want, self._clock()):
                case Hand(token=found):
                    return self._handed(asked, found)
                case Refuse() as refusal:
                    return self._refused(asked, refusal)
                case Refresh(grant=due, meanwhile=meanwhile):
                    first_generation = due.generation if first_generation is None else first_generation
                    if due.generation > first_generation:
                        return self._refused(asked, _SHORT_LIVED)
                    instead = await self._waited(asked, due, meanwhile)
                    if instead is not None:
                        return instead if meanwhile is None else self._handed(asked, meanwhile)

    async def _rejected(self, asked: Question, generation: int, token: AccessToken | None) -> Reply:
        """An API refused the token of a generation: refresh once, however many report it.

        A token that nothing renews stays for others: one agent's word must not end it for all.
        """
        while True:
            grant, stored = await self._lookup.stored(asked.place)
            newest = _newest(token, stored)
            if newest is not None and newest.generation > generation:
                return Reply(code=Code.OK, service=asked.call.service, generation=newest.generation)
            if grant is not None and generation > grant.generation:
                # The database has each before an agent does. To wait for it would be to refresh on and on.
                return Reply(code=Code.INVALID_REQUEST, service=asked.call.service, reason=NEVER_ISSUED)
            match decide(grant, None, Want(), self._clock()):
                case Refuse() as refusal:
                    return self._refused(asked, refusal)
                case Refresh(grant=due):
                    instead = await self._waited(asked, due, None, Reason.REJECTED)
                    if instead is not None:
                        return instead

    async def _waited(
        self, asked: Question, grant: Grant, meanwhile: AccessToken | None, reason: Reason = Reason.MISS
    ) -> Reply | None:
        """Wait for the refresh. None: look again. A reply: what to say where there is nothing to hand out."""
        left = (asked.deadline - self._clock()).total_seconds()
        if left <= 0:
            return replies.deadline_exceeded(asked.call.service)
        provider = self._catalogue.current.services[asked.place[0]].provider
        try:
            left_alone_until = await self._wait(grant, provider, reason, left)
        except (BusUnavailable, QueueFull, Unroutable):
            if meanwhile is None:
                raise
            return replies.overloaded(asked.call.service, UNHEARD)
        if left_alone_until is None:
            return None
        return self._refused(asked, provider_down(left_alone_until, self._clock()))

    def _handed(self, asked: Question, token: AccessToken) -> Reply:
        return replies.handed(asked.place[0], token, asked.max_ttl_seconds, self._clock())

    def _refused(self, asked: Question, refusal: Refuse) -> Reply:
        return replies.refused(asked.place[0], refusal, self._connect_url(*asked.place))

    async def _audited(self, asked: Question, reply: Reply) -> Reply:
        try:
            await self._journal.append(audit_record.of_call(self._keys, asked, reply, self._clock()))
        except AuditUnavailable:
            return replies.overloaded(asked.call.service, replies.UNAUDITED)
        return reply


_SHORT_LIVED = Refuse(
    code=Code.TTL_UNAVAILABLE,
    reason="Even a fresh token of this provider does not live so long: ask for a shorter min_ttl.",
)


def _newest(one: AccessToken | None, other: AccessToken | None) -> AccessToken | None:
    found = [token for token in (one, other) if token is not None]
    return max(found, key=lambda token: token.generation, default=None)
