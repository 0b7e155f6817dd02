"""What the audit says of a call. No secret: a token is named by its HMAC."""

from datetime import datetime

from dispenser.policy import Denied
from dispenser.protocol import ChildCall, Code, RejectedCall, Reply, TokenCall
from dispenser.question import Question
from dispenser.vault_token import Identity
from shared.keyring import Keyring
from shared.model import AuditRecord
from shared.token_fingerprint import fingerprint


def of_call(keys: Keyring, question: Question, reply: Reply, at: datetime) -> AuditRecord:
    """The record of one call's outcome; the journal numbers it. Raises: KeyMissing."""
    call, verdict, asking = question.call, question.verdict, question.asking
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action=_action(call, reply),
        outcome=reply.code.value,
        agent=asking.identity.agent,
        session=asking.identity.session,
        owner=question.place[1],
        service=question.place[0],
        generation=reply.generation,
        fingerprint=fingerprint(keys, reply.access_token),
        scopes=reply.scopes,
        scopes_asked=(call.scopes or ()) if isinstance(call, TokenCall) else (),
        policy=verdict.policy,
        catalogue_version=question.catalogue_version,
        request_id=asking.request_id,
        purpose=call.purpose if isinstance(call, TokenCall) else "",
        door=asking.door,
        actors=asking.identity.actors,
        reason=verdict.reason if isinstance(verdict, Denied) else reply.reason,
    )


def of_delegation(
    parent: Identity, call: ChildCall, reply: Reply, *, request_id: str, door: str, at: datetime
) -> AuditRecord:
    """The record of a vault token that a sub-agent got, or did not get."""
    wanted = {
        "actor": call.actor,
        "services": call.services and " ".join(call.services),
        "scopes": call.scopes and " ".join(call.scopes),
    }
    said = ", ".join(f"{name} {value}" for name, value in wanted.items() if value)
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action="vault_token.delegated",
        outcome=reply.code.value,
        agent=parent.agent,
        session=parent.session,
        owner=call.owner or parent.acts_for,
        request_id=request_id,
        door=door,
        actors=parent.actors,
        reason=f"For a sub-agent: {said or 'as its parent'}. {reply.reason}".rstrip(),
    )


def of_exchange(
    identity: Identity | None, reply: Reply, *, about: str, request_id: str, at: datetime
) -> AuditRecord:
    """The record of a workload's own token that was exchanged for a vault token, or was not."""
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action="vault_token.exchanged",
        outcome=reply.code.value,
        agent=identity.agent if identity else "",
        session=identity.session if identity else "",
        owner=identity.owner if identity else "",
        request_id=request_id,
        door="http",
        reason=f"{about} {reply.reason}".strip(),
    )


def of_refusal(
    reason: str,
    *,
    broker_user: str | None,
    door: str,
    identity: Identity | None,
    request_id: str,
    at: datetime,
) -> AuditRecord:
    """The record of a request whose sender is not who it has to be. Whoever presents another's vault token
    is named by the broker, in the reason; the token's own agent is whom it was stolen from."""
    known = "" if broker_user is None else f" RabbitMQ knows the sender as {broker_user!r}."
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action="request.refused",
        outcome=Code.UNAUTHENTICATED.value,
        agent=identity.agent if identity else "",
        session=identity.session if identity else "",
        owner=identity.owner if identity else "",
        request_id=request_id,
        door=door,
        actors=identity.actors if identity else (),
        reason=f"{reason}{known}",
    )


def of_overload(
    refusal: Reply, identity: Identity, *, request_id: str, door: str, at: datetime
) -> AuditRecord:
    """The record of a request that was one too many; nothing but its sender was looked at."""
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action="request.refused",
        outcome=refusal.code.value,
        agent=identity.agent,
        session=identity.session,
        owner=identity.owner,
        request_id=request_id,
        door=door,
        actors=identity.actors,
        reason=refusal.reason,
    )


def of_revocation(
    kind: str,
    subject: str,
    *,
    owner: str = "",
    service: str = "",
    generation: int | None = None,
    door: str,
    at: datetime,
    admin: str = "",
) -> AuditRecord:
    """The record of a right that was taken back; `agent` is the subject where it is one."""
    return AuditRecord(
        writer="",
        sequence=0,
        at=at,
        action=f"{kind}.revoked",
        outcome=Code.OK.value,
        agent=subject if kind == "agent" else "",
        session=subject if kind == "session" else "",
        owner=owner,
        service=service,
        generation=generation,
        request_id=subject if kind == "token" else "",
        door=door,
        admin=admin,
        reason="" if kind in ("agent", "session", "token", "grant") else f"{kind} {subject}".strip(),
    )


def _action(call: TokenCall | RejectedCall, reply: Reply) -> str:
    if isinstance(call, RejectedCall):
        return "token.rejected"
    return "token.dispensed" if reply.code is Code.OK else "token.denied"
