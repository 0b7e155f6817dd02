from collections.abc import Callable
from datetime import timedelta

from dispenser import audit_record, delegation, replies, standing
from dispenser.catalogue_view import CatalogueView
from dispenser.delegation import Refused
from dispenser.lookup import Lookup
from dispenser.policy import Allowed
from dispenser.protocol import ChildCall, Code, Reply, TokenCall
from dispenser.question import verdict_on
from dispenser.revocation import revoked
from dispenser.revocation_view import RevocationView
from dispenser.vault_token import DEFAULT_TTL_SECONDS, MAX_CHARACTERS, Identity, mint, renewed
from shared.errors import AuditUnavailable, KeyMissing
from shared.keyring import Keyring
from shared.ports import AuditJournal, Clock

USELESS = "Denied: with so few rights no policy allows the services or scopes that are named:"


class Minting:
    """Makes vault tokens out of vault tokens: with a new life, or narrower ones for sub-agents."""

    def __init__(
        self,
        *,
        keys: Keyring,
        catalogue: CatalogueView,
        lookup: Lookup,
        revocations: RevocationView,
        journal: AuditJournal,
        clock: Clock,
        vault: str,
        new_id: Callable[[], str],
    ) -> None:
        self._keys = keys
        self._catalogue = catalogue
        self._lookup = lookup
        self._revocations = revocations
        self._journal = journal
        self._clock = clock
        self._vault = vault
        self._new_id = new_id

    async def renew(self, identity: Identity) -> Reply:
        """The same identity with a new life."""
        if (refusal := await self._refusal(identity)) is not None:
            return refusal
        now = self._clock()
        return self._minted(renewed(identity, self._new_id(), now, timedelta(seconds=DEFAULT_TTL_SECONDS)))

    async def delegate(self, parent: Identity, call: ChildCall, *, request_id: str, door: str) -> Reply:
        """A narrower vault token for a sub-agent, with its audit record durable."""
        reply = await self._refusal(parent) or self._delegated(parent, call)
        record = audit_record.of_delegation(
            parent, call, reply, request_id=request_id, door=door, at=self._clock()
        )
        try:
            await self._journal.append(record)
        except AuditUnavailable:
            return replies.overloaded("", replies.UNAUDITED)
        return reply

    def _delegated(self, parent: Identity, call: ChildCall) -> Reply:
        child = delegation.child(parent, call, token_id=self._new_id(), now=self._clock())
        if isinstance(child, Refused):
            return Reply(code=Code.DENIED, reason=child.reason)
        if (fault := standing.fault(self._catalogue.current.agents, child)) is not None:
            return Reply(code=Code.DENIED, reason=fault)
        if vain := self._vain(child, call):
            return Reply(code=Code.DENIED, reason=f"{USELESS} {', '.join(sorted(vain))}.")
        return self._minted(child)

    def _vain(self, child: Identity, call: ChildCall) -> set[str]:
        """What is named and not to be had with the child: better told now than at its first use."""
        catalogue, policies, now = self._catalogue.current, self._catalogue.policies, self._clock()
        services = {
            name: service.scopes
            for name, service in catalogue.services.items()
            if isinstance(verdict_on(catalogue, policies, child, TokenCall(service=name), now), Allowed)
        }
        scopes = {scope for carried in services.values() for scope in carried}
        return set(call.services or ()) - services.keys() | set(call.scopes or ()) - scopes

    async def _refusal(self, identity: Identity) -> Reply | None:
        if (fault := standing.fault(self._catalogue.current.agents, identity)) is not None:
            return replies.unauthenticated(fault)
        if revoked(identity, await self._lookup.epochs(identity), self._revocations.moments):
            return replies.unauthenticated(replies.REVOKED)
        return None

    def _minted(self, identity: Identity) -> Reply:
        try:
            text = mint(self._keys, identity, vault=self._vault)
        except KeyMissing:
            return Reply(code=Code.DENIED, reason="This door mints no vault tokens: ask at the gateway.")
        if len(text) > MAX_CHARACTERS:
            return Reply(code=Code.DENIED, reason="The vault token would be too long: name fewer services.")
        return replies.vault_token(text, identity, self._clock())
