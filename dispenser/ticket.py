"""A session as it travels: sealed by a dispenser, for itself and for all others, under the day's ticket key.

So no dispenser keeps what another would need. Agents take a ticket as it is, and send it with each request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgpack
from cryptography.exceptions import InvalidTag

from dispenser.narrowing import from_claim
from dispenser.sealed_frame import KEY_ID_BYTES, NONCE_BYTES
from dispenser.sealed_session import SealedSession, SessionKeys
from dispenser.transport_key import TransportKey
from dispenser.vault_token import Identity

LABEL: Final = b"token-dispenser ticket v1"
_SEALED_AT: Final = KEY_ID_BYTES + NONCE_BYTES


class UnknownTicket(ValueError):
    """A ticket that no key held has sealed, or whose session is over."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session, as a dispenser knows it."""

    sealed: SealedSession = field(repr=False)
    identity: Identity
    expires_at: datetime


def seal(
    key: TransportKey, keys: SessionKeys, identity: Identity, expires_at: datetime, nonce: bytes
) -> bytes:
    """The ticket of a session. A nonce is 12 random bytes."""
    known = {name: getattr(identity, name) for name in Identity.__dataclass_fields__}
    known["narrowing"] = identity.narrowing.claim()
    fields = [keys.request_key, keys.reply_key, expires_at, known]
    plain = msgpack.packb(fields, datetime=True)
    return key.id + nonce + key.tickets.encrypt(nonce, plain, LABEL + key.id)


def unseal(held: Mapping[bytes, TransportKey], ticket: bytes, now: datetime) -> Session:
    """The session of a ticket, with the keys held by their ids. Raises: UnknownTicket."""
    key = held.get(ticket[:KEY_ID_BYTES])
    if key is None:
        raise UnknownTicket("No key of this id is held.")
    try:
        plain = key.tickets.decrypt(ticket[KEY_ID_BYTES:_SEALED_AT], ticket[_SEALED_AT:], LABEL + key.id)
    except (InvalidTag, ValueError):
        raise UnknownTicket("The ticket does not open.") from None
    session = _read(plain)
    if session.expires_at <= now:
        raise UnknownTicket("The session is over.")
    return session


def _read(plain: bytes) -> Session:
    request_key, reply_key, expires_at, identity = msgpack.unpackb(plain, timestamp=3, use_list=False)
    try:
        known = Identity(**identity | {"narrowing": from_claim(identity["narrowing"])})
    except (TypeError, KeyError, ValueError):  # a dispenser of another version made it
        raise UnknownTicket("The ticket is of another version.") from None
    return Session(SealedSession(SessionKeys(request_key, reply_key)), known, expires_at)
