from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RevocationKind(StrEnum):
    """What a revocation is about."""

    ALL = "all"
    AGENT = "agent"
    SESSION = "session"
    OWNER = "owner"
    TOKEN = "token"  # noqa: S105 - one vault token, by its `jti`


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Vault tokens of a subject issued at or before `revoked_at` are void."""

    kind: RevocationKind
    #: Agent, session, owner or a vault token's id; empty for `all`.
    subject: str
    revoked_at: datetime
