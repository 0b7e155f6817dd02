from collections.abc import Callable
from datetime import timedelta

from dispenser import audit_record, replies, standing, subject_token
from dispenser.catalogue_view import CatalogueView
from dispenser.issuer_keys import IssuerKeys
from dispenser.protocol import Reply
from dispenser.subject_token import InvalidSubjectToken, Workload
from dispenser.vault_token import Identity, mint
from shared.errors import AuditUnavailable, IssuerUnavailable
from shared.keyring import Keyring
from shared.model import Issuer, SessionId
from shared.ports import AuditJournal, Clock

FOREIGN = "No issuer is declared whose token this is: `dispenser apply` takes `issuers`."
UNPROVEN = "The token is bound to a key, and this request does not prove to hold it: send a DPoP proof."


class Workloads:
    """Takes workloads' own tokens for vault tokens (RFC 8693), each a new session of its agent.

    A vault token never outlives the token it was taken for, nor does any renewal.
    """

    def __init__(
        self,
        *,
        issuer_keys: IssuerKeys,
        catalogue: CatalogueView,
        keys: Keyring,
        journal: AuditJournal,
        clock: Clock,
        vault: str,
        new_id: Callable[[], str],
    ) -> None:
        self._issuer_keys = issuer_keys
        self._catalogue = catalogue
        self._keys = keys
        self._journal = journal
        self._clock = clock
        self._vault = vault
        self._new_id = new_id

    async def exchange(self, text: str, *, proven: str | None, ttl_seconds: float, request_id: str) -> Reply:
        """A vault token, bound to the key that was proven, if any: its thumbprint.

        Else `unauthenticated`, or `overloaded` where an issuer's keys cannot be had. The audit record is
        durable first.
        """
        identity = None
        try:
            issuer, workload = await self._admitted(text)
            identity = self._session(workload, proven, ttl_seconds)
            reply = replies.vault_token(
                mint(self._keys, identity, vault=self._vault), identity, self._clock()
            )
            about = f"For {workload.subject} of {issuer.name}."
        except InvalidSubjectToken as error:
            reply, about = replies.unauthenticated(str(error)), ""
        except IssuerUnavailable as error:
            reply, about = replies.overloaded("", str(error)), ""
        record = audit_record.of_exchange(
            identity, reply, about=about, request_id=request_id, at=self._clock()
        )
        try:
            await self._journal.append(record)
        except AuditUnavailable:
            return replies.overloaded("", replies.UNAUDITED)
        return reply

    async def _admitted(self, text: str) -> tuple[Issuer, Workload]:
        """Several issuers may be declared for one address, each with an audience of its own."""
        claimed, refusal = subject_token.claimed(text), InvalidSubjectToken(FOREIGN)
        for issuer in self._catalogue.current.issuers.values():
            if issuer.issuer != claimed.issuer:
                continue
            keys = await self._issuer_keys.find(issuer, claimed.key_id)
            try:
                return issuer, subject_token.admitted(text, claimed.key_id, issuer, keys, self._clock())
            except InvalidSubjectToken as error:
                refusal = error
        raise refusal

    def _session(self, workload: Workload, proven: str | None, ttl_seconds: float) -> Identity:
        if workload.key not in (None, proven):
            raise InvalidSubjectToken(UNPROVEN)
        now = self._clock()
        identity = Identity(
            agent=workload.agent,
            session=SessionId(self._new_id()),
            owner=workload.owner,
            token_id=self._new_id(),
            issued_at=now,
            expires_at=min(now + timedelta(seconds=ttl_seconds), workload.expires_at),
            key=proven,
            until=workload.expires_at,
        )
        if (fault := standing.fault(self._catalogue.current.agents, identity)) is not None:
            raise InvalidSubjectToken(fault)
        return identity
