from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.model.names import EnrolmentId, Owner, ServiceName


class EnrolmentState(StrEnum):
    """How far a connection has come."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A credential on its way in: written by whoever connects an account, opened by a refresher only."""

    id: EnrolmentId
    service: ServiceName
    owner: Owner
    state: EnrolmentState
    #: A `Presented`, sealed to the refreshers' key; wiped once the enrolment has ended.
    sealed: bytes | None
    #: Why it failed, such as `invalid_grant`.
    error: str | None
    created_at: datetime
    expires_at: datetime
