"""The dispensers' public keys as agents get them: over the broker, from anybody, and signed.

An agent needs no anchor beside its vault token. The signature that the token carries (RFC 7515) was made
with the vault's key; a key under which the token verifies is the vault's, since Ed25519 ties a signature to
the one key it was made with. So the keyset brings its signers' public keys along, and an agent believes the
one that has signed its own vault token.
"""

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispenser import frame, protocol, sealed_frame
from dispenser.frame import MalformedFrame
from dispenser.sealed_frame import KEY_ID_BYTES, Kind

LABEL: Final = b"token-dispenser keyset v1"
MAX_BYTES: Final = 16 * 1024
MAX_SIGNERS: Final = 16
#: The clocks of an agent and of the dispensers may differ by so much.
SKEW_SECONDS: Final = 30.0
_PUBLIC_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_PREFIX_BYTES: Final = 3


class Untrusted(ValueError):
    """A keyset that the vault of this vault token has not signed, or one whose time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key to seal openings to. Instants are in seconds since the epoch."""

    id: bytes
    public: bytes
    begins_at: float
    ends_at: float


def encode(keys: Sequence[PublicKey], signers: Sequence[Ed25519PrivateKey]) -> bytes:
    """The message, signed by each of the vault's token-signing keys."""
    statement = bytes(msgpack.packb({"v": protocol.VERSION, "keys": [_fields(key) for key in keys]}))
    signatures = b"".join(
        signer.public_key().public_bytes_raw() + signer.sign(LABEL + statement) for signer in signers
    )
    return sealed_frame.header(Kind.KEYSET) + bytes((len(signers),)) + signatures + statement


def verified(body: bytes, vault_token: str, now: float) -> tuple[PublicKey, ...]:
    """The keys in a message, signed by whoever signed the vault token, and of this day.

    Raises: Untrusted, MalformedFrame.
    """
    statement, signatures = _divided(body)
    signers = [key for key, signature in signatures if _signed(key, signature, LABEL + statement)]
    if not any(_made(key, vault_token) for key in signers):
        raise Untrusted("The dispensers' keys are not signed by the vault that made this vault token.")
    fields = frame.read(statement, max_bytes=MAX_BYTES, max_octets=_PUBLIC_BYTES)
    keys = tuple(_read(key) for key in frame.field(fields, "keys", frame.items))
    if not any(now < key.ends_at + SKEW_SECONDS for key in keys):
        raise Untrusted("The dispensers' keys are of another day: is this machine's clock right?")
    return keys


def current(keys: Sequence[PublicKey], now: float) -> PublicKey | None:
    """The key for what is sealed now. None: all have ended, and new ones are there to be asked for."""
    alive = [key for key in keys if now < key.ends_at]
    return min(alive, key=lambda key: key.begins_at, default=None)


def _divided(body: bytes) -> tuple[bytes, list[tuple[Ed25519PublicKey, bytes]]]:
    if len(body) > MAX_BYTES or len(body) < _PREFIX_BYTES or body[2] > MAX_SIGNERS:
        raise MalformedFrame("A keyset has another length.")
    each = _PUBLIC_BYTES + _SIGNATURE_BYTES
    end = _PREFIX_BYTES + body[2] * each
    signed = [body[start : start + each] for start in range(_PREFIX_BYTES, end, each)]
    return body[end:], [
        (Ed25519PublicKey.from_public_bytes(one[:_PUBLIC_BYTES]), one[_PUBLIC_BYTES:])
        for one in signed
        if len(one) == each
    ]


def _made(key: Ed25519PublicKey, vault_token: str) -> bool:
    signed, _, signature = vault_token.rpartition(".")
    try:
        return _signed(key, urlsafe_b64decode(signature + "=="), signed.encode())
    except (binascii.Error, ValueError):
        return False


def _signed(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _fields(key: PublicKey) -> dict[str, Any]:
    return {"id": key.id, "public": key.public, "begins_at": key.begins_at, "ends_at": key.ends_at}


def _read(fields: object) -> PublicKey:
    if not isinstance(fields, dict):
        raise MalformedFrame("A key is a map.")
    key = PublicKey(
        id=frame.field(fields, "id", frame.octets),
        public=frame.field(fields, "public", frame.octets),
        begins_at=frame.field(fields, "begins_at", frame.instant),
        ends_at=frame.field(fields, "ends_at", frame.instant),
    )
    if (len(key.id), len(key.public)) != (KEY_ID_BYTES, _PUBLIC_BYTES):
        raise MalformedFrame("A key has another length.")
    return key
