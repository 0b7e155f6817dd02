from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.model.names import AgentName


class Proof(StrEnum):
    """Whether an agent's vault tokens are bound to a key that it has to prove (RFC 7800)."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A registered identity."""

    name: AgentName
    description: str = ""
    proof: Proof = Proof.OPTIONAL
    revoked_at: datetime | None = None
    #: Calls begun in a second, in each dispenser. None: as the dispenser's settings say.
    max_requests_per_second: int | None = None
    #: Calls in hand at once, in each dispenser. None: as the dispenser's settings say.
    max_concurrency: int | None = None
