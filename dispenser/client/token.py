"""An access token, as an agent holds it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dispenser.protocol import Reply


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Token:
    """An access token of a service. Only `value` and `authorization` show it."""

    value: str
    token_type: str
    #: UTC; None: the token does not expire.
    expires_at: datetime | None
    scopes: tuple[str, ...]
    service: str
    #: Whose account it is for; None: the owner in the vault token.
    owner: str | None
    #: The grant's version, +1 with every rotation.
    generation: int

    @property
    def authorization(self) -> str:
        """The value of the HTTP header `Authorization` (RFC 6750 §2.1)."""
        # Some APIs compare the scheme by case, which RFC 9110 §11.1 leaves open: write it as all expect it.
        scheme = "Bearer" if self.token_type.lower() == "bearer" else self.token_type
        return f"{scheme} {self.value}"

    def __repr__(self) -> str:
        return f"Token({', '.join(self._shown())})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def _shown(self) -> Iterator[str]:
        yield f"service={self.service!r}"
        if self.owner is not None:
            yield f"owner={self.owner!r}"
        yield f"generation={self.generation}"
        yield f"expires_at={self.expires_at.isoformat() if self.expires_at else None}"
        yield f"scopes={self.scopes!r}"


def from_reply(reply: Reply, *, service: str, owner: str | None) -> Token:
    """The token in an `ok` reply. Raises: ValueError when there is none."""
    if not reply.access_token:
        raise ValueError("The vault answered ok without a token.")
    return Token(
        value=reply.access_token,
        token_type=reply.token_type or "Bearer",
        expires_at=None if reply.expires_at is None else datetime.fromtimestamp(reply.expires_at, UTC),
        scopes=reply.scopes,
        service=service,
        owner=owner,
        generation=reply.generation or 0,
    )
