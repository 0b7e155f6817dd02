"""Vault tokens for sub-agents: never wider than the one they come from, whatever becomes of the policies.

A child speaks for its parent's agent, session and owner; `act` (RFC 8693 §4.1) says who acts with it. What it
may have is what its subject may, and each actor in the chain, within its narrowing. Nobody draws rights from
prior actors, says the RFC: here they only take away.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dispenser.narrowing import Narrowing
from dispenser.policy import Allowed, Denied, Query, generosity, judged
from dispenser.policy_index import PolicyIndex
from dispenser.protocol import ChildCall
from dispenser.vault_token import REVOCATION_SEEN_SECONDS, Identity
from shared.model import AgentName, Owner, ServiceName

#: Actors in a chain: a program that delegates in a circle ends here.
DEEPEST: Final = 4
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No such child. The reason is for the agent: it is about its own token."""

    reason: str


def child(parent: Identity, call: ChildCall, *, token_id: str, now: datetime) -> Identity | Refused:
    """Whom a child's vault token speaks for. Neither it nor a renewal of it outlives the parent.

    Issued a little before `now`, as a renewal is: a revocation that is not seen yet voids the child too.
    """
    narrowing = parent.narrowing.narrowed(_wanted(call))
    if narrowing is None:
        return Refused(reason="A child's vault token cannot have more than its parent's own.")
    if len(parent.actors) >= DEEPEST:
        return Refused(reason=f"A vault token is passed on at most {DEEPEST} times.")
    if call.key is not None and _THUMBPRINT.fullmatch(call.key) is None:
        return Refused(reason="The key is named by its JWK thumbprint: SHA-256 in base64url (RFC 7638).")
    actor = AgentName(call.actor) if call.actor else (parent.actors or (parent.agent,))[0]
    end = parent.expires_at if parent.until is None else min(parent.until, parent.expires_at)
    return replace(
        parent,
        token_id=token_id,
        issued_at=max(parent.issued_at, now - timedelta(seconds=REVOCATION_SEEN_SECONDS)),
        expires_at=end if call.ttl is None else min(end, now + timedelta(seconds=call.ttl)),
        until=end,
        key=call.key or parent.key,
        actors=(actor, *parent.actors),
        narrowing=narrowing,
    )


def verdict(policies: PolicyIndex, identity: Identity, query: Query, now: datetime) -> Allowed | Denied:
    """What the policies say to everyone in the chain, within its narrowing; `query` is the subject's."""
    if (beyond := identity.narrowing.beyond(query)) is not None:
        return Denied(reason=f"The vault token was narrowed when it was delegated: it is not for {beyond}.")
    allowed = []
    for agent in dict.fromkeys((identity.agent, *identity.actors)):
        found = judged(policies.about(agent, query.service), _put_by(agent, query), now)
        if isinstance(found, Denied):
            return found
        allowed.append(found)
    return min(allowed, key=generosity)


def _put_by(agent: AgentName, query: Query) -> Query:
    return query if agent == query.agent else replace(query, agent=agent)


def _wanted(call: ChildCall) -> Narrowing:
    return Narrowing(
        services=None if call.services is None else frozenset(map(ServiceName, call.services)),
        scopes=None if call.scopes is None else frozenset(call.scopes),
        owner=None if call.owner is None else Owner(call.owner),
    )
