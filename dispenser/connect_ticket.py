"""The right to begin a consent, carried by the link to it.

A ticket is sealed under the cache key, not signed: every process that answers agents can then hand out links,
and only the gateway holds the key that makes vault tokens.
"""

import base64
import binascii
from datetime import datetime
from typing import Final

from shared.connect_address import connect_address
from shared.envelope import open_ticket, seal_ticket
from shared.errors import KeyMissing, SealBroken
from shared.keyring import Keyring
from shared.model import Owner, ServiceName

#: Seconds that a link in a reply works: an agent has to bring it to its owner first.
LIFETIME_SECONDS: Final = 3600
MAX_TEXT_BYTES: Final = 256


class InvalidTicket(ValueError):
    """A link that is not, or no longer, one for this service and owner. The message is for people."""


def mint(keys: Keyring, service: ServiceName, owner: Owner, *, expires_at: datetime) -> str:
    """A ticket as it stands in a link. Raises: KeyMissing."""
    sealed = seal_ticket(keys, service, owner, expires_at)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def verify(keys: Keyring, text: str, service: ServiceName, owner: Owner, *, now: datetime) -> None:
    """Raises: InvalidTicket unless the ticket is for this very service and owner, and still good."""
    try:
        expires_at = open_ticket(keys, service, owner, _decoded(text))
    except (SealBroken, KeyMissing, ValueError):
        raise InvalidTicket("This link is not one for this service and owner.") from None
    if expires_at <= now:
        raise InvalidTicket("This link has expired.")


def connect_url(public_url: str, service: ServiceName, owner: Owner, ticket: str) -> str:
    """Where the owner gives consent."""
    return connect_address(public_url, service, owner, ticket)


def _decoded(text: str) -> bytes:
    if len(text) > MAX_TEXT_BYTES or not text.isascii():
        raise ValueError
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError from None
