"""OAuth providers on virtual time: what they do with refresh tokens, and what they think of each."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from shared.model import GrantKind, OnReuse, Provider, ProviderName, Rotation
from shared.ports import HttpResponse


class Replay(Enum):
    """What a provider with a grace window answers to a token spent within it."""

    SAME = "same"  # the same new token again
    NEW = "new"  # another one, and both are good
    NONE = "none"  # an access token alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """A kind of provider."""

    name: str
    rotation: Rotation
    grant: GrantKind = GrantKind.AUTHORIZATION_CODE
    replay: Replay = Replay.SAME
    #: Repeats the refresh token in each answer, though it does not rotate.
    repeats: bool = False

    @property
    def strict(self) -> bool:
        """A refresh token is good for one request."""
        spends = self.grant is GrantKind.AUTHORIZATION_CODE and self.rotation.rotates
        return spends and not self.rotation.grace_seconds

    def declared(self, life: int) -> Provider:
        """Its declaration."""
        return Provider(
            name=ProviderName(self.name),
            client_id="vault",
            token_url=f"https://{self.name}.example/token",
            grant=self.grant,
            rotation=self.rotation,
            default_expires_in_seconds=life,
        )


HABITS: Final = (
    Habit(name="strict-deny", rotation=Rotation(on_reuse=OnReuse.DENY)),
    Habit(name="strict-revoke", rotation=Rotation(on_reuse=OnReuse.REVOKE_FAMILY)),
    Habit(name="grace-same", rotation=Rotation(grace_seconds=1800, on_reuse=OnReuse.DENY)),
    Habit(name="grace-short", rotation=Rotation(grace_seconds=140, on_reuse=OnReuse.DENY)),
    Habit(name="grace-new", rotation=Rotation(grace_seconds=1800), replay=Replay.NEW),
    Habit(
        name="grace-none", rotation=Rotation(grace_seconds=1800, on_reuse=OnReuse.DENY), replay=Replay.NONE
    ),
    Habit(name="lasting", rotation=Rotation(rotates=False)),
    Habit(name="repeating", rotation=Rotation(rotates=False), repeats=True),
    Habit(name="client", rotation=Rotation(rotates=False), grant=GrantKind.CLIENT_CREDENTIALS),
)


@dataclass(slots=True)
class Token:
    """A refresh token as its provider knows it."""

    value: str
    family: "Family"
    parent: str = ""
    #: When it was first redeemed, in seconds.
    spent_at: float | None = None
    child: str = ""


@dataclass(slots=True)
class Family:
    """All that came from one consent."""

    number: int
    revoked: bool = False
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """What a provider did with a request, and what it says."""

    code: str
    response: HttpResponse
    child: str = ""
    access_token: str = ""


class SimulatedProvider:
    """An authorization server in memory."""

    def __init__(self, habit: Habit, life: int, time: Callable[[], float]) -> None:
        self.habit = habit
        self.life = life
        self._time = time
        self.tokens: dict[str, Token] = {}
        self._numbers = itertools.count(1)
        #: It does not know our client for the moment.
        self.refuses_client = False

    def consent(self) -> str:
        """The first refresh token of a new family."""
        number = next(self._numbers)
        return self._minted(Family(number), "").value

    def redeem(self, token: str) -> Result:
        """A token request, carried out (RFC 6749 §6)."""
        if self.refuses_client:
            return _refusal(401, "invalid_client")
        if self.habit.grant is GrantKind.CLIENT_CREDENTIALS:
            return self._issued("")
        known = self.tokens.get(token)
        if known is None or known.family.revoked:
            return _refusal(400, "invalid_grant")
        if not self.habit.rotation.rotates:
            return self._issued(token if self.habit.repeats else "")
        if known.spent_at is None:
            known.spent_at = self._time()
            known.child = self._minted(known.family, token).value
            return self._issued(known.child)
        return self._replayed(known)

    def good(self, token: str) -> bool:
        """A grant that keeps this token has lost nothing that it could still get."""
        known = self.tokens.get(token)
        if known is None or known.family.revoked:
            return False
        forgetful = self.habit.replay is Replay.NONE and self._in_grace(known)
        return known.spent_at is None or forgetful

    def _replayed(self, spent: Token) -> Result:
        if not self._in_grace(spent):
            spent.family.revoked |= self.habit.rotation.on_reuse is OnReuse.REVOKE_FAMILY
            return _refusal(400, "invalid_grant")
        match self.habit.replay:
            case Replay.SAME:
                return self._issued(spent.child)
            case Replay.NEW:
                return self._issued(self._minted(spent.family, spent.value).value)
            case Replay.NONE:
                return self._issued("")

    def _in_grace(self, spent: Token) -> bool:
        grace = self.habit.rotation.grace_seconds
        return grace > 0 and spent.spent_at is not None and self._time() - spent.spent_at <= grace

    def _minted(self, family: Family, parent: str) -> Token:
        token = Token(f"{self.habit.name}:{family.number}.{len(family.tokens)}", family, parent)
        family.tokens.append(token)
        self.tokens[token.value] = token
        return token

    def _issued(self, child: str) -> Result:
        access_token = f"at:{self.habit.name}:{next(self._numbers)}"
        fields = {"access_token": access_token, "token_type": "Bearer", "expires_in": self.life}
        if child:
            fields["refresh_token"] = child
        return Result("issued", _json(200, fields), child, access_token)


def _refusal(status: int, code: str) -> Result:
    return Result(code, _json(status, {"error": code}))


def _json(status: int, fields: dict[str, object]) -> HttpResponse:
    return HttpResponse(status=status, headers={}, body=json.dumps(fields).encode())
