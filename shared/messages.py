"""What travels between our own processes: expiry events in, lifecycle events out. Never a token in either."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgpack

from shared.errors import MalformedMessage
from shared.model import EnrolmentId, GrantId, HandbackId, Owner, ServiceName

EVENT_TYPE_PREFIX: Final = "dev.token-dispenser.vault."
EVENT_SOURCE: Final = "token-dispenser"
MAX_BODY_BYTES: Final = 4096
#: What a database's integer holds.
MAX_GENERATION: Final = 2**63 - 1


class Reason(StrEnum):
    """Why a refresh is asked for."""

    DUE = "due"  # the scheduler's clock
    MISS = "miss"  # an agent waits
    REJECTED = "rejected"  # an API answered 401


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryEvent:
    """A grant must be refreshed. Harmless when repeated: it names the generation it is about."""

    grant_id: GrantId
    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentEvent:
    """Something an owner presented waits for its exchange."""

    enrolment_id: EnrolmentId


@dataclass(frozen=True, slots=True, kw_only=True)
class HandbackEvent:
    """A revoked grant's credential waits for its provider to be told."""

    handback_id: HandbackId


RefresherMessage = ExpiryEvent | EnrolmentEvent | HandbackEvent


def encode(message: RefresherMessage) -> bytes:
    """A msgpack map with the message's kind."""
    match message:
        case ExpiryEvent():
            body = {
                "kind": "expiry",
                "grant": message.grant_id,
                "generation": message.generation,
                "reason": message.reason.value,
            }
        case EnrolmentEvent():
            body = {"kind": "enrolment", "enrolment": message.enrolment_id}
        case HandbackEvent():
            body = {"kind": "handback", "handback": message.handback_id}
    return bytes(msgpack.packb(body))


def decode(body: bytes) -> RefresherMessage:
    """Raises: MalformedMessage."""
    try:
        return _decoded(_map(body))
    except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"Not a message for refreshers: {type(error).__name__}.") from None


def _map(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise ValueError
    value = msgpack.unpackb(body, max_ext_len=0, max_bin_len=0)
    if not isinstance(value, dict):
        raise TypeError
    return value


def _decoded(fields: dict[str, Any]) -> RefresherMessage:
    if fields["kind"] == "enrolment":
        return EnrolmentEvent(enrolment_id=EnrolmentId(_text(fields["enrolment"])))
    if fields["kind"] == "handback":
        return HandbackEvent(handback_id=HandbackId(_text(fields["handback"])))
    if fields["kind"] != "expiry":
        raise ValueError
    return ExpiryEvent(
        grant_id=GrantId(_text(fields["grant"])),
        generation=_generation(fields["generation"]),
        reason=Reason(fields["reason"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _generation(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_GENERATION:
        raise ValueError
    return value


class EventType(StrEnum):
    """The lifecycle events on `vault.events`; the value is the routing key."""

    CONNECTED = "credential.connected"
    REFRESHED = "credential.refreshed"
    REFRESH_FAILED = "credential.refresh_failed"
    REAUTH_REQUIRED = "credential.reauth_required"
    RECOVERED = "credential.recovered"
    REVOKED = "credential.revoked"
    EXPIRING_SOON = "credential.expiring_soon"
    INCIDENT = "provider.incident"
    DISPENSED = "token.dispensed"
    DENIED = "token.denied"
    CHECKPOINT = "audit.checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent:
    """Something became of a grant or a request, or of the audit, which is of no service."""

    id: str
    type: EventType
    at: datetime
    service: ServiceName
    owner: Owner
    generation: int | None = None
    #: More for the receiver: an error's code, an agent, a connect address.
    details: Mapping[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """CloudEvents 1.0 in binary mode, as application properties (AMQP binding §3.1)."""
        about = {"cloudEvents:subject": f"{self.service}/{self.owner}"} if self.service else {}
        return about | {
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": self.id,
            "cloudEvents:type": f"{EVENT_TYPE_PREFIX}{self.type.value}.v1",
            "cloudEvents:source": EVENT_SOURCE,
            "cloudEvents:time": self.at.isoformat(),
        }

    def body(self) -> bytes:
        """The event's data, in JSON."""
        data: dict[str, Any] = {**self.details}
        if self.service:
            data |= {"service": self.service, "owner": self.owner}
        if self.generation is not None:
            data["generation"] = self.generation
        return json.dumps(data, separators=(",", ":")).encode()
