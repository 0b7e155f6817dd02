from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import keyset, opening, sealed_frame, sealed_session, ticket, transport_key
from dispenser.keyset import PublicKey
from dispenser.opening import Opened, Opening
from dispenser.place import Place
from dispenser.protocol import Reply
from dispenser.sealed_frame import KEY_ID_BYTES, NONCE_BYTES, Kind
from dispenser.sealed_session import SealedSession, SessionKeys
from dispenser.ticket import Session, UnknownTicket
from dispenser.transport_key import SESSION_SECONDS, TransportKey
from dispenser.transport_view import TransportView
from dispenser.vault_token import Identity
from shared.keyring import Keyring
from shared.ports import Clock

#: Sessions whose tickets each process remembers: opening one anew costs some microseconds.
REMEMBERED: Final = 10_000


class UnknownKey(ValueError):
    """An opening that is sealed to a key that is not held."""


class Sessions:
    """Opens agents' sessions, and finds them again by their tickets, whichever dispenser has opened them."""

    def __init__(
        self, transport: TransportView, keys: Keyring, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        """`entropy`: random bytes, as many as asked for."""
        self._transport = transport
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._remembered: OrderedDict[bytes, Session] = OrderedDict()
        self._signed: tuple[tuple[TransportKey, ...], tuple[str, ...], bytes] | None = None

    def keyset(self) -> bytes:
        """The message with the keys to seal openings to, signed once for all who ask."""
        published, signers = self._transport.published, tuple(self._keys.signing_private)
        if self._signed is None or self._signed[:2] != (published, signers):
            message = keyset.encode([_public(key) for key in published], self._signers())
            self._signed = (published, signers, message)
        return self._signed[2]

    def shown(self, body: bytes, place: Place) -> tuple[Opening, str | None]:
        """What an agent shows in an opening, and the thumbprint of the key it has proven to hold, if any.

        Raises: UnknownKey, Unopened, MalformedFrame.
        """
        message = sealed_frame.read_opening(body)
        key = self._transport.by_id.get(message.key_id)
        if key is None:
            raise UnknownKey("No transport key of this id is held.")
        return opening.unseal(message, key.private, place)

    def opened(self, body: bytes, shown: Opening, identity: Identity) -> bytes:
        """The answer to an opening whose agent is known: its ticket."""
        now, key, keys = self._clock(), self._transport.current, sealed_session.derived(shown.secret, body)
        expires_at = min(identity.expires_at, now + timedelta(seconds=SESSION_SECONDS), key.expires_at)
        made = ticket.seal(key, keys, identity, expires_at, self._entropy(NONCE_BYTES))
        life_seconds = max(0.0, (expires_at - now).total_seconds())
        plain = opening.encode_opened(Opened(ticket=made, life_seconds=life_seconds))
        return self._answered(body, keys, plain)

    def refused(self, body: bytes, shown: Opening, refusal: Reply) -> bytes:
        """The answer to an opening of somebody who gets no session."""
        keys = sealed_session.derived(shown.secret, body)
        return self._answered(body, keys, opening.encode_unopened(refusal))

    def of(self, made: bytes) -> Session:
        """The session of a ticket. Raises: UnknownTicket."""
        remembered = self._remembered.get(made)
        if remembered is None:
            remembered = ticket.unseal(self._transport.by_id, made, self._clock())
            self._remember(made, remembered)
        elif remembered.expires_at <= self._clock() or made[:KEY_ID_BYTES] not in self._transport.by_id:
            del self._remembered[made]
            raise UnknownTicket("The session is over.")
        else:
            self._remembered.move_to_end(made)
        return remembered

    def sealed_replies(self, session: Session, asked: str, plain: bytes) -> bytes:
        """The message of replies to the request whose id is `asked`."""
        return session.sealed.seal_answer(Kind.REPLIES, asked, plain, self._entropy(NONCE_BYTES))

    def _answered(self, body: bytes, keys: SessionKeys, plain: bytes) -> bytes:
        asked, nonce = sealed_frame.identifier(body), self._entropy(NONCE_BYTES)
        return SealedSession(keys).seal_answer(Kind.OPENED, asked, plain, nonce)

    def _remember(self, made: bytes, session: Session) -> None:
        self._remembered[made] = session
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def _signers(self) -> list[Ed25519PrivateKey]:
        return list(self._keys.signing_private.values())[-keyset.MAX_SIGNERS :]


def _public(key: TransportKey) -> PublicKey:
    begins_at, ends_at = transport_key.begins_at(key.day), transport_key.begins_at(key.day + 1)
    return PublicKey(
        id=key.id, public=key.public, begins_at=begins_at.timestamp(), ends_at=ends_at.timestamp()
    )
