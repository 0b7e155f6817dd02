"""What can be said of a call after one look into the cache, with nothing more asked of anybody."""

from dataclasses import dataclass
from datetime import datetime

from dispenser import replies
from dispenser.decision import usable
from dispenser.policy import Denied
from dispenser.protocol import Reply, TokenCall
from dispenser.question import Question
from shared.model import AccessToken


@dataclass(frozen=True, slots=True)
class Sender:
    """What is wrong with whoever asks, if anything is: the same for all calls of a message."""

    #: Why the vault token's agent may have nothing at all.
    fault: str | None
    #: The vault token is void.
    revoked: bool


def reply(asked: Question, sender: Sender, token: AccessToken | None, now: datetime) -> Reply | None:
    """The refusal, or the token that the cache had. None: the database has to be asked."""
    if sender.fault is not None:
        return replies.unauthenticated(sender.fault)
    if isinstance(asked.verdict, Denied):
        return replies.denied(asked.call.service)
    if not asked.known:
        return replies.not_found(asked.call.service)
    if sender.revoked:
        return replies.unauthenticated(replies.REVOKED)
    if token is not None and isinstance(asked.call, TokenCall) and usable(token, asked.want, now):
        return replies.handed(asked.place[0], token, asked.max_ttl_seconds, now)
    return None
