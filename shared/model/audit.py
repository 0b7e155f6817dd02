from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One decision. Holds no secret."""

    #: The process that wrote it, and its place in that process's journal.
    writer: str
    sequence: int
    at: datetime
    #: `token.dispensed`, `token.denied`, `grant.connected`, `grant.refreshed`, `agent.revoked`, …
    action: str
    #: A reply code of the protocol, or an outcome class.
    outcome: str
    agent: str = ""
    session: str = ""
    owner: str = ""
    service: str = ""
    generation: int | None = None
    #: HMAC of the token handed out: finds it again without telling it.
    fingerprint: str = ""
    #: The scopes that were granted.
    scopes: tuple[str, ...] = ()
    #: The scopes that were asked for; empty: whatever the service has.
    scopes_asked: tuple[str, ...] = ()
    #: The policy that decided, and the version of all that was declared then.
    policy: str = ""
    catalogue_version: int = 0
    request_id: str = ""
    purpose: str = ""
    #: `amqp`, `http`, `cli` or a worker's name.
    door: str = ""
    #: Who acted, where it was no agent: an admin's name.
    admin: str = ""
    #: Who acts for the agent with a vault token that was delegated, nearest first (`act`, RFC 8693 §4.1).
    actors: tuple[str, ...] = ()
    #: A sentence for people.
    reason: str = ""
    #: How many it stands for: denials that one record counts, records that were purged.
    count: int = 1
    #: What makes a journal's line provably the next one: see `audit_line`.
    chain: str = field(default="", repr=False)
