"""The rules of policies once more, said slowly and without the code that is tested: not even its globs."""

from datetime import datetime

from dispenser.policy import Query
from shared.model import Effect, Policy


def verdict(policies: list[Policy], query: Query, now: datetime) -> tuple[bool, int | None]:
    """Whether it is allowed, and for how many seconds at a time; None: as long as the token lives."""
    allowed = False
    longest: int | None = 0
    for policy in policies:
        if not is_about(policy, query, now):
            continue
        if policy.effect is Effect.DENY:
            if policy.scopes is None:
                return False, None
            for scope in policy.scopes:
                if scope in query.scopes:
                    return False, None
            continue
        if not covers(policy, query):
            continue
        allowed = True
        if policy.max_ttl_seconds is None or longest is None:
            longest = None
        elif policy.max_ttl_seconds > longest:
            longest = policy.max_ttl_seconds
    return allowed, longest if allowed else None


def is_about(policy: Policy, query: Query, now: datetime) -> bool:
    """This agent, this service and this owner, at this time."""
    if policy.not_before is not None and now < policy.not_before:
        return False
    if policy.expires_at is not None and not now < policy.expires_at:
        return False
    if not one_fits(policy.agents, query.agent) or not one_fits(policy.services, query.service):
        return False
    for owner in policy.owners:
        if owner == "$session":
            if query.owner == query.session_owner:
                return True
        elif fits(owner, query.owner):
            return True
    return False


def covers(policy: Policy, query: Query) -> bool:
    """All the scopes, and as much life as is asked for."""
    if policy.scopes is not None:
        for scope in query.scopes:
            if scope not in policy.scopes:
                return False
    return policy.max_ttl_seconds is None or query.min_ttl_seconds <= policy.max_ttl_seconds


def one_fits(patterns: tuple[str, ...], name: str) -> bool:
    return any(fits(pattern, name) for pattern in patterns)


def fits(pattern: str, name: str) -> bool:
    """A shell pattern, letter by letter: `*` anything, `?` one, `[ab]` one of these, `[!ab]` another."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return fits(pattern[1:], name) or (bool(name) and fits(pattern, name[1:]))
    if pattern[0] == "[" and "]" in pattern[2:]:
        end = pattern.index("]", 2)
        letters, rest = pattern[1:end], pattern[end + 1 :]
        wanted = not letters.startswith("!")
        return bool(name) and (name[0] in letters.lstrip("!")) is wanted and fits(rest, name[1:])
    return bool(name) and pattern[0] in ("?", name[0]) and fits(pattern[1:], name[1:])
