"""A call put in terms of the catalogue: who asks, for what, for whom, and what the policies say."""

from dataclasses import dataclass
from datetime import datetime

from dispenser.decision import Want
from dispenser.delegation import verdict
from dispenser.policy import Allowed, Denied, Query
from dispenser.policy_index import PolicyIndex
from dispenser.protocol import RejectedCall, TokenCall
from dispenser.vault_token import Identity
from shared.model import Catalogue, Owner, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What all calls of one message have in common: who asks, and until when."""

    identity: Identity
    request_id: str
    door: str
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call and all that is known of it before anything is looked up."""

    asking: Asking
    call: TokenCall | RejectedCall
    place: tuple[ServiceName, Owner]
    verdict: Allowed | Denied
    #: There is such a service.
    known: bool
    catalogue_version: int

    @property
    def max_ttl_seconds(self) -> int | None:
        """What the policy that allowed it says."""
        return self.verdict.max_ttl_seconds if isinstance(self.verdict, Allowed) else None

    @property
    def want(self) -> Want:
        """What the token must be like."""
        if isinstance(self.call, RejectedCall):
            return Want()
        scopes = None if self.call.scopes is None else frozenset(self.call.scopes)
        return Want(min_ttl_seconds=self.call.min_ttl, scopes=scopes)


def put(
    catalogue: Catalogue,
    policies: PolicyIndex,
    asking: Asking,
    call: TokenCall | RejectedCall,
    now: datetime,
) -> Question:
    """Resolve a call against the catalogue and its policies. The owner is the session's by default."""
    place = _place(asking.identity, call)
    return Question(
        asking=asking,
        call=call,
        place=place,
        verdict=verdict_on(catalogue, policies, asking.identity, call, now),
        known=place[0] in catalogue.services,
        catalogue_version=catalogue.version,
    )


def verdict_on(
    catalogue: Catalogue,
    policies: PolicyIndex,
    identity: Identity,
    call: TokenCall | RejectedCall,
    now: datetime,
) -> Allowed | Denied:
    """What the policies say to a call."""
    return verdict(policies, identity, _query(catalogue, identity, call), now)


def _place(identity: Identity, call: TokenCall | RejectedCall) -> tuple[ServiceName, Owner]:
    return ServiceName(call.service), Owner(call.owner or identity.acts_for)


def _query(catalogue: Catalogue, identity: Identity, call: TokenCall | RejectedCall) -> Query:
    service, owner = _place(identity, call)
    declared = catalogue.services.get(service)
    # A token carries all that its service has: naming fewer scopes makes it no smaller.
    scopes = frozenset(() if declared is None else declared.scopes)
    min_ttl = None
    if isinstance(call, TokenCall):
        scopes |= frozenset(call.scopes or ())
        min_ttl = call.min_ttl
    return Query(
        agent=identity.agent,
        session_owner=identity.owner,
        service=service,
        owner=owner,
        scopes=scopes,
        min_ttl_seconds=min_ttl or 0.0,
    )
