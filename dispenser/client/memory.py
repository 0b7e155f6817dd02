"""The access tokens an agent holds, while they have life left."""

from dataclasses import dataclass
from typing import Final

from dispenser.client.token import Token

#: The protocol's default for the life a token must have left: a fifth of its life, at most a minute.
DEFAULT_SHARE: Final = 0.2
DEFAULT_CAP_SECONDS: Final = 60.0
#: A token without expiry can be replaced all the same: it is asked for again after this long.
KEPT_WITHOUT_EXPIRY_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which token: calls with equal ones share it."""

    service: str
    owner: str | None
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Kept:
    token: Token
    life_seconds: float
    ends_at: float


class Memory:
    """Tokens by what was asked for. Instants are the event loop's: a step of the wall clock does no harm."""

    def __init__(self) -> None:
        self._kept: dict[Wanted, _Kept] = {}

    def keep(self, wanted: Wanted, token: Token, *, expires_in: float | None, asked_at: float) -> None:
        """The life counts from the asking, which was before the answer: the token lives at least so long."""
        self._forget_ended(asked_at)
        life = KEPT_WITHOUT_EXPIRY_SECONDS if expires_in is None else expires_in
        self._kept[wanted] = _Kept(token, life, asked_at + life)

    def find(self, wanted: Wanted, *, min_ttl: float | None, now: float) -> Token | None:
        """A token with `min_ttl` seconds left; None: with the default share of its life."""
        kept = self._kept.get(wanted)
        if kept is None:
            return None
        # A token without expiry has any life that is asked for.
        asked = 0.0 if kept.token.expires_at is None else min_ttl
        needed = min(DEFAULT_CAP_SECONDS, DEFAULT_SHARE * kept.life_seconds) if asked is None else asked
        return kept.token if kept.ends_at - now > needed else None

    def reject(self, token: Token) -> bool:
        """Forgets this generation and those before it. False: a later one is held, so nobody need be told."""
        same = {
            w: k.token for w, k in self._kept.items() if (w.service, w.owner) == (token.service, token.owner)
        }
        for wanted, kept in same.items():
            if kept.generation <= token.generation:
                del self._kept[wanted]
        return all(kept.generation <= token.generation for kept in same.values())

    def _forget_ended(self, now: float) -> None:
        self._kept = {wanted: kept for wanted, kept in self._kept.items() if kept.ends_at > now}
