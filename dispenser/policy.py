"""May this agent ever have this service, for this owner? Denied unless a policy allows it; a deny wins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from shared.model import AgentName, Effect, Owner, Policy, ServiceName

SESSION_OWNER = "$session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a policy is asked about."""

    agent: AgentName
    #: The owner in the agent's vault token.
    session_owner: Owner
    service: ServiceName
    owner: Owner
    #: The scopes that a token for this service carries, and those that are asked for.
    scopes: frozenset[str]
    #: The life asked for, in seconds.
    min_ttl_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Yes, by this policy."""

    policy: str
    #: How long, in seconds, until the agent has to ask again; None: as long as the token lives.
    max_ttl_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """No. The reason is for operators; an agent is told no more than "denied"."""

    reason: str
    #: The policy that said so; empty when none allowed it.
    policy: str = ""


def evaluate(policies: Iterable[Policy], query: Query, now: datetime) -> Allowed | Denied:
    """The verdict. The order of policies does not matter: any deny that matches wins."""
    about_agent = (policy for policy in policies if is_about_agent(policy, query.agent))
    return judged(about_service(about_agent, query.service), query, now)


def judged(relevant: Sequence[Policy], query: Query, now: datetime) -> Allowed | Denied:
    """The verdict of policies that are about the query's agent and, as `about_service` has them, service."""
    matching = [policy for policy in relevant if _holds(policy, query, now)]
    for policy in matching:
        if policy.effect is Effect.DENY and _denied_scopes(policy, query):
            return Denied(reason=f"Policy {policy.name} denies it.", policy=policy.name)
    return _best([policy for policy in matching if policy.effect is Effect.ALLOW], query)


def matches(policy: Policy, query: Query, now: datetime) -> bool:
    """The policy is about this agent, service and owner, at this time."""
    return (
        is_about_agent(policy, query.agent)
        and _any_matches(policy.services, query.service)
        and _holds(policy, query, now)
    )


def is_about_agent(policy: Policy, agent: AgentName) -> bool:
    """The policy may say something to this agent."""
    return _any_matches(policy.agents, agent)


def about_service(policies: Iterable[Policy], service: ServiceName) -> tuple[Policy, ...]:
    """Those that may say something of this service.

    By name, so that of several that say the same it is always the same one that is named.
    """
    relevant = (policy for policy in policies if _any_matches(policy.services, service))
    return tuple(sorted(relevant, key=lambda policy: policy.name))


def _holds(policy: Policy, query: Query, now: datetime) -> bool:
    """The policy is about this owner, at this time."""
    return (
        (policy.not_before is None or policy.not_before <= now)
        and (policy.expires_at is None or now < policy.expires_at)
        and _owner_matches(policy.owners, query)
    )


def _best(allowing: Iterable[Policy], query: Query) -> Allowed | Denied:
    """The most generous policy that allows the whole of what is asked, or why none does."""
    refusals = []
    allowed = []
    for policy in allowing:
        reason = _shortfall(policy, query)
        if reason is None:
            allowed.append(Allowed(policy=policy.name, max_ttl_seconds=policy.max_ttl_seconds))
        else:
            refusals.append(Denied(reason=reason, policy=policy.name))
    if allowed:
        return max(allowed, key=generosity)
    return refusals[0] if refusals else Denied(reason="No policy allows it.")


def generosity(verdict: Allowed) -> float:
    """For how long, in seconds, it lets an agent keep a token."""
    return float("inf") if verdict.max_ttl_seconds is None else verdict.max_ttl_seconds


def _shortfall(policy: Policy, query: Query) -> str | None:
    """Why a policy that matches does not allow the whole of it."""
    if policy.scopes is not None and not query.scopes <= set(policy.scopes):
        beyond = ", ".join(sorted(query.scopes - set(policy.scopes)))
        return f"Policy {policy.name} does not allow the scopes {beyond}."
    if policy.max_ttl_seconds is not None and query.min_ttl_seconds > policy.max_ttl_seconds:
        return f"Policy {policy.name} allows at most {policy.max_ttl_seconds} seconds."
    return None


def _denied_scopes(policy: Policy, query: Query) -> bool:
    """A deny without scopes is about all of them."""
    return policy.scopes is None or bool(query.scopes & set(policy.scopes))


def _any_matches(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _owner_matches(patterns: Iterable[str], query: Query) -> bool:
    return any(
        query.owner == query.session_owner if pattern == SESSION_OWNER else fnmatchcase(query.owner, pattern)
        for pattern in patterns
    )
