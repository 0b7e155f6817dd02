"""A session's opening: what an agent shows once, sealed to a dispenser's transport key (HPKE, RFC 9180 base
mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM), and what it is answered.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from dispenser import frame, protocol, sealed_frame
from dispenser.agent_key import KEY_BYTES, thumbprint
from dispenser.frame import MalformedFrame
from dispenser.place import Place
from dispenser.protocol import MAX_BODY_BYTES, Reply
from dispenser.sealed_frame import MAX_TICKET_BYTES, OpeningFrame
from dispenser.sealed_session import SECRET_BYTES, Unopened

SEALED_LABEL: Final = b"token-dispenser opening v1"
PROOF_LABEL: Final = b"token-dispenser proof v1"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SIGNATURE_BYTES: Final = 64
_UNPROVEN: Final = b"\0"
_PROVEN: Final = b"\1"
_PROOF_BYTES: Final = 1 + KEY_BYTES + _SIGNATURE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an agent shows."""

    vault_token: str = field(repr=False)
    #: 32 random bytes, which the session's keys are derived from.
    secret: bytes = field(repr=False)
    #: By the agent's clock, in seconds since the epoch.
    sent_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session is open."""

    #: Goes with each of its requests.
    ticket: bytes = field(repr=False)
    #: Seconds from the answer on.
    life_seconds: float


def seal(
    opening: Opening, public: bytes, key_id: bytes, place: Place, key: Ed25519PrivateKey | None
) -> bytes:
    """The message, with the proof that the agent holds its key where it has one.

    Its own chance goes into it: no two are alike.
    """
    info = key_id + place.octets
    plain = _proof(key, info, _packed(opening)) + _packed(opening)
    sealed = _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public), SEALED_LABEL + info)
    return sealed_frame.opening(key_id, sealed)


def unseal(message: OpeningFrame, private: X25519PrivateKey, place: Place) -> tuple[Opening, str | None]:
    """What an agent has shown, and the thumbprint of the key it has proven to hold, if any.

    Raises: Unopened, MalformedFrame.
    """
    info = message.key_id + place.octets
    try:
        plain = _SUITE.decrypt(message.sealed, private, SEALED_LABEL + info)
    except (InvalidTag, ValueError):
        raise Unopened("The opening was not sealed to this key for this place.") from None
    match plain[:1]:
        case b"\0":
            return _read(plain[1:]), None
        case b"\1" if len(plain) > _PROOF_BYTES:
            return _read(plain[_PROOF_BYTES:]), _proven(plain, info)
        case _:
            raise MalformedFrame("An opening begins with whether it holds a proof.")


def encode_opened(opened: Opened) -> bytes:
    """The answer that a session is open."""
    return bytes(msgpack.packb({"v": protocol.VERSION, "ticket": opened.ticket, "life": opened.life_seconds}))


def encode_unopened(refusal: Reply) -> bytes:
    """The answer that none is."""
    return protocol.encode_replies([(0, refusal)])


def decode_answer(plain: bytes) -> Opened | Reply:
    """Either of the two. Raises: MalformedFrame."""
    fields = frame.read(plain, max_bytes=protocol.MAX_REPLY_BYTES, max_octets=MAX_TICKET_BYTES)
    if "replies" in fields:
        refusals = protocol.decode_replies(plain)
        if len(refusals) != 1:
            raise MalformedFrame("An opening has one answer.")
        return refusals[0][1]
    return Opened(
        ticket=frame.field(fields, "ticket", frame.octets),
        life_seconds=frame.field(fields, "life", frame.seconds),
    )


def _packed(opening: Opening) -> bytes:
    fields: dict[str, Any] = {
        "v": protocol.VERSION,
        "token": opening.vault_token,
        "secret": opening.secret,
        "sent_at": opening.sent_at,
    }
    return bytes(msgpack.packb(fields))


def _read(packed: bytes) -> Opening:
    fields = frame.read(packed, max_bytes=MAX_BODY_BYTES, max_octets=SECRET_BYTES)
    frame.only(fields, frozenset({"v", "token", "secret", "sent_at"}))
    secret = frame.field(fields, "secret", frame.octets)
    if frame.field(fields, "v", frame.integer) != protocol.VERSION or len(secret) != SECRET_BYTES:
        raise MalformedFrame(f"An opening has v = {protocol.VERSION} and a secret of {SECRET_BYTES} bytes.")
    return Opening(
        vault_token=frame.field(fields, "token", frame.text),
        secret=secret,
        sent_at=frame.field(fields, "sent_at", frame.instant),
    )


def _proof(key: Ed25519PrivateKey | None, info: bytes, packed: bytes) -> bytes:
    if key is None:
        return _UNPROVEN
    signature = key.sign(PROOF_LABEL + info + packed)
    return _PROVEN + key.public_key().public_bytes_raw() + signature


def _proven(plain: bytes, info: bytes) -> str:
    key = Ed25519PublicKey.from_public_bytes(plain[1 : 1 + KEY_BYTES])
    signature, packed = plain[1 + KEY_BYTES : _PROOF_BYTES], plain[_PROOF_BYTES:]
    try:
        key.verify(signature, PROOF_LABEL + info + packed)
    except InvalidSignature:
        raise Unopened("The proof was not made with the key that it names.") from None
    return thumbprint(key)
