"""The request path: check, policy, one look into the cache, decide, audit, reply.

Both doors call it. It never calls a provider.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from dispenser import at_once, audit_record, question, replies, standing
from dispenser.admission import Admission
from dispenser.at_once import Sender
from dispenser.authentication import Authentication
from dispenser.catalogue_view import CatalogueView
from dispenser.limits import Limits
from dispenser.lookup import Lookup, Place
from dispenser.minting import Minting
from dispenser.policy import Allowed
from dispenser.protocol import Call, ChildCall, RejectedCall, Reply, TokenCall
from dispenser.question import Asking, Question
from dispenser.refresh_wait import RefreshWait
from dispenser.revocation import revoked
from dispenser.revocation_view import RevocationView
from dispenser.second_look import SecondLook
from dispenser.sender import speaks_for
from dispenser.vault_token import Identity, InvalidVaultToken
from shared.errors import AuditUnavailable
from shared.keyring import Keyring
from shared.model import AccessToken, AuditRecord, Owner, ServiceName
from shared.ports import AuditJournal, Bus, Cache, Clock, Store

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
        self._second_look = SecondLook(
            lookup=self._lookup,
            wait=RefreshWait(bus, cache, store.grants, clock),
            catalogue=catalogue,
            clock=clock,
            connect_url=connect_url,
        )

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

    def ended(self, identity: Identity, calls: int = 1) -> None:
        """Some of the calls that were admitted have come to their end."""
        self.admission.ended(identity.agent, calls)

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
        """One call's reply, as `answers` gives it."""
        found = self.answers(
            identity, (call,), request_id=request_id, door=door, deadline_seconds=deadline_seconds
        )
        async with aclosing(found):
            [(_, reply)] = await anext(found)
            return reply

    async def answers(
        self,
        identity: Identity,
        calls: Sequence[Call],
        *,
        request_id: str,
        door: str,
        deadline_seconds: float,
    ) -> AsyncGenerator[Sequence[tuple[int, Reply]]]:
        """Replies with their calls' indexes, those together that are ready together.

        Raises nothing for what the world does; an audit record is durable before its reply leaves. Whoever
        stops listening closes it: what is still waited for is given up then.
        """
        now = self._clock()
        deadline = now + timedelta(seconds=deadline_seconds)
        asking = Asking(identity=identity, request_id=request_id, door=door, deadline=deadline)
        look = await self._look(asking, calls, now)
        tasks = {asyncio.create_task(begin()): index for index, begin in look.later}
        try:
            if look.ready:
                yield await self._audited(look.ready)
            async for finished in _as_they_finish(tasks):
                yield [(tasks[task], task.result()) for task in finished]
        finally:
            for task in tasks:
                task.cancel()

    async def _look(self, asking: Asking, calls: Sequence[Call], now: datetime) -> "_Look":
        """All that can be said after one round trip to the cache, and what is to be waited for."""
        asked = self._asked(asking, calls, now)
        sender, tokens = await self._cached(asking.identity, asked.values())
        now, look = self._clock(), _Look()
        found = {
            which: at_once.reply(one, sender, tokens.get(one.place), now) for which, one in asked.items()
        }
        said = {which: _Said(asked[which], reply) for which, reply in found.items() if reply is not None}
        for index, call in enumerate(calls):
            which = id(call)
            if which in said:
                look.ready.append((index, said[which]))
            elif which in asked:
                look.later.append((index, partial(self._looked_up_again, asked[which], tokens)))
            else:
                look.later.append((index, partial(self._minted, asking, call)))
        return look

    def _asked(self, asking: Asking, calls: Iterable[Call], now: datetime) -> Mapping[int, Question]:
        """Each call for a service put in the catalogue's terms, by its id; one that comes again, once."""
        catalogue, policies = self._catalogue.current, self._catalogue.policies
        return {
            which: question.put(catalogue, policies, asking, call, now)
            for which, call in {id(call): call for call in calls}.items()
            if isinstance(call, TokenCall | RejectedCall)
        }

    async def _cached(
        self, identity: Identity, asked: Collection[Question]
    ) -> tuple[Sender, Mapping[Place, AccessToken]]:
        """What the cache has of the sender and of what is allowed: nothing is looked up for what is not."""
        fault = standing.fault(self._catalogue.current.agents, identity)
        allowed = dict.fromkeys(one.place for one in asked if one.known and isinstance(one.verdict, Allowed))
        if fault is not None or not allowed:
            return Sender(fault, revoked=False), {}
        epochs, tokens = await self._lookup.cached(identity, list(allowed))
        return Sender(None, revoked(identity, epochs, self._revocations.moments)), tokens

    async def _looked_up_again(self, asked: Question, tokens: Mapping[Place, AccessToken]) -> Reply:
        # It is the database and the refreshers that are waited for, which may take their time.
        with self.admission.aside():
            reply = await self._second_look.reply(asked, tokens.get(asked.place))
        [(_, audited)] = await self._audited([(0, _Said(asked, reply))])
        return audited

    async def _minted(self, asking: Asking, call: Call) -> Reply:
        """A vault token, for a call that is about none of the services."""
        if isinstance(call, ChildCall):
            return await self._minting.delegate(
                asking.identity, call, request_id=asking.request_id, door=asking.door
            )
        return await self._minting.renew(asking.identity)

    async def _audited(self, ready: Sequence[tuple[int, "_Said"]]) -> list[tuple[int, Reply]]:
        """The replies, once a record of each is durable; without its record none leaves."""
        at = self._clock()
        distinct = dict.fromkeys(said for _, said in ready)
        try:
            records = {
                said: audit_record.of_call(self._keys, said.asked, said.reply, at) for said in distinct
            }
            await self._journal.append(*(records[said] for _, said in ready))
        except AuditUnavailable:
            return [
                (index, replies.overloaded(said.asked.place[0], replies.UNAUDITED)) for index, said in ready
            ]
        return [(index, said.reply) for index, said in ready]


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What is said to a call, however often a message has it: itself and no other, as a key."""

    asked: Question
    reply: Reply


@dataclass(frozen=True, slots=True)
class _Look:
    """Calls' indexes with what is said to them, or with how to learn it."""

    ready: list[tuple[int, _Said]] = field(default_factory=list)
    later: list[tuple[int, Callable[[], Coroutine[Any, Any, Reply]]]] = field(default_factory=list)


async def _as_they_finish(
    tasks: Iterable[asyncio.Task[Reply]],
) -> AsyncIterator[Collection[asyncio.Task[Reply]]]:
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        yield done
