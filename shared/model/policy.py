from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Effect(StrEnum):
    """What a policy that matches says."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which agents may have which services, for which owners. Names are shell patterns (`tracker*`)."""

    name: str
    effect: Effect
    agents: tuple[str, ...] = ("*",)
    services: tuple[str, ...] = ("*",)
    #: `$session` stands for the owner in the agent's vault token.
    owners: tuple[str, ...] = ("$session",)
    #: None: whatever the service has.
    scopes: tuple[str, ...] | None = None
    #: How long an agent may go on using a token before it has to ask again.
    max_ttl_seconds: int | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
