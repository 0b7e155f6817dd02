"""The keys of a session and what they seal: requests one way, answers the other.

An agent draws a secret and seals it, with its vault token, to a dispenser's transport key (HPKE, RFC 9180).
From the secret both ends derive two AES-256-GCM keys (HKDF, RFC 5869), one for each way, so that no message
can be turned round. A request is bound to its place, and an answer to the request it is for.
"""

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dispenser import sealed_frame
from dispenser.place import Place
from dispenser.sealed_frame import Kind, RequestFrame

SECRET_BYTES: Final = 32
#: A message may be so old: the broker drops it sooner, so what is older is a repetition by somebody else.
BEHIND_SECONDS: Final = 60.0
#: A message may be so much "from the future": the agent's clock may be ahead.
AHEAD_SECONDS: Final = 30.0
KEYS_LABEL: Final = b"token-dispenser session keys v1"
_KEY_BYTES: Final = 32


class Unopened(ValueError):
    """A message that these keys have not sealed for this place."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What both ends of a session hold."""

    #: From the agent.
    request_key: bytes = field(repr=False)
    #: To the agent.
    reply_key: bytes = field(repr=False)


def timely(sent_at: float, now: float) -> bool:
    """Whether a message is of now. In seconds since the epoch, each by the clock of its own end."""
    return -AHEAD_SECONDS <= now - sent_at <= BEHIND_SECONDS


def derived(secret: bytes, opening: bytes) -> SessionKeys:
    """The keys of the session that an opening has opened; the salt is the message itself."""
    hkdf = HKDF(SHA256(), 2 * _KEY_BYTES, bytes.fromhex(sealed_frame.identifier(opening)), KEYS_LABEL)
    keys = hkdf.derive(secret)
    return SessionKeys(keys[:_KEY_BYTES], keys[_KEY_BYTES:])


class SealedSession:
    """Seals and opens with a session's keys. A nonce is 12 random bytes, never used twice."""

    __slots__ = ("_replies", "_requests")

    def __init__(self, keys: SessionKeys) -> None:
        self._requests = AESGCM(keys.request_key)
        self._replies = AESGCM(keys.reply_key)

    def seal_request(self, ticket: bytes, place: Place, plain: bytes, nonce: bytes) -> bytes:
        """A message of the agent's."""
        header = sealed_frame.request_header(ticket)
        return header + nonce + self._requests.encrypt(nonce, plain, header + place.octets)

    def open_request(self, frame: RequestFrame, place: Place) -> bytes:
        """Raises: Unopened."""
        return _opened(self._requests, frame.nonce, frame.sealed, frame.header + place.octets)

    def seal_answer(self, kind: Kind, asked: str, plain: bytes, nonce: bytes) -> bytes:
        """A message to the agent, for the one whose id is `asked`."""
        sealed = self._replies.encrypt(nonce, plain, sealed_frame.header(kind) + bytes.fromhex(asked))
        return sealed_frame.answer(kind, nonce, sealed)

    def open_answer(self, kind: Kind, asked: str, body: bytes) -> bytes:
        """Raises: Unopened for all that is not an answer to what was asked."""
        nonce, sealed = sealed_frame.read_answer(body)
        return _opened(self._replies, nonce, sealed, sealed_frame.header(kind) + bytes.fromhex(asked))


def _opened(key: AESGCM, nonce: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return key.decrypt(nonce, sealed, bound_to)
    except (InvalidTag, ValueError):
        raise Unopened("The message was not sealed by this session for this place.") from None
