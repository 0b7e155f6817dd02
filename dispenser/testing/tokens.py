import hashlib
import math
import secrets
from dataclasses import dataclass
from typing import Literal

from dispenser.testing.behaviour import Behaviour


@dataclass(slots=True, eq=False)
class Family:
    """Every token that comes from one consent."""

    client_id: str
    owner: str
    scopes: tuple[str, ...]
    #: Seconds since the epoch, as all times here.
    began_at: float
    revoked: bool = False


@dataclass(slots=True, eq=False)
class RefreshToken:
    """One of a family's refresh tokens: alive until it is spent, or ends, or the family is revoked."""

    value: str
    family: Family
    #: Issued, or used where using it does not spend it.
    used_at: float
    spent_at: float | None = None
    #: What spending it was answered with.
    successor: "Issued | None" = None


@dataclass(slots=True, eq=False)
class AccessToken:
    """What the API accepts until `expires_at`."""

    value: str
    family: Family
    scopes: tuple[str, ...]
    expires_at: float
    revoked: bool = False

    def live(self, now: float) -> bool:
        return now < self.expires_at and not (self.revoked or self.family.revoked)


@dataclass(frozen=True, slots=True)
class Issued:
    """What one token request was answered with."""

    access: AccessToken
    refresh: RefreshToken | None


Standing = Literal["fresh", "in_grace", "reused", "expired", "revoked"]


def standing(token: RefreshToken, behaviour: Behaviour, now: float) -> Standing:
    """What a presented refresh token is to the provider."""
    if token.family.revoked:
        return "revoked"
    if token.spent_at is not None:
        return "in_grace" if now < token.spent_at + behaviour.grace_seconds else "reused"
    return "fresh" if now < ends_at(token, behaviour) else "expired"


def ends_at(token: RefreshToken, behaviour: Behaviour) -> float:
    """When a refresh token ends that nobody uses; infinite where it does not."""
    idle, life = behaviour.refresh_token_idle_seconds, behaviour.refresh_token_life_seconds
    ends = (
        math.inf if idle is None else token.used_at + idle,
        math.inf if life is None else token.family.began_at + life,
    )
    return min(ends)


def fingerprint(value: str) -> str:
    """Names a token without telling it."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


class Tokens:
    """All tokens the provider has issued, by value."""

    def __init__(self) -> None:
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}

    def issue_access(self, family: Family, scopes: tuple[str, ...], expires_at: float) -> AccessToken:
        token = AccessToken("at_" + secrets.token_urlsafe(24), family, scopes, expires_at)
        self._access[token.value] = token
        return token

    def issue_refresh(self, family: Family, now: float) -> RefreshToken:
        token = RefreshToken("rt_" + secrets.token_urlsafe(24), family, now)
        self._refresh[token.value] = token
        return token

    def access(self, value: str) -> AccessToken | None:
        return self._access.get(value)

    def refresh(self, value: str) -> RefreshToken | None:
        return self._refresh.get(value)

    def family_of(self, refresh_token: str) -> Family:
        """Raises: KeyError for a token that was never issued."""
        return self._refresh[refresh_token].family

    def end_oldest(self, newest: Family, most: int) -> None:
        """Of an owner's families at one client only the newest live on."""
        place = (newest.client_id, newest.owner)
        families = {id(t.family): t.family for t in self._refresh.values() if not t.family.revoked}
        same = [family for family in families.values() if (family.client_id, family.owner) == place]
        for family in same[: max(0, len(same) - most)]:
            family.revoked = True

    def revoke_access_tokens(self) -> None:
        for token in list(self._access.values()):
            token.revoked = True

    def revoke_all(self) -> None:
        families = [token.family for token in self._access.values()]
        for family in [*families, *(token.family for token in self._refresh.values())]:
            family.revoked = True
