"""The keys a process holds, by use. Parsing and generating only: where the text lies is wiring's matter."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared import key_record
from shared.errors import ConfigurationError, KeyMissing

Key = TypeVar("Key")

#: Of keys made when it does not matter when.
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime.max.replace(tzinfo=UTC)
KEY_ID_BYTES = 8
MLKEM768_PUBLIC_BYTES = 1184
MLKEM_SEED_BYTES = 64
X25519_BYTES = 32


@dataclass(slots=True, kw_only=True)
class Keyring:
    """Keys by use and key id (16 hex digits); `primary` names the id that new values are made with.

    A role that may seal grants but not open them holds `grant_public` alone. A process has one keyring, and
    whoever holds it follows a rotation: see `become`.
    """

    primary: Mapping[str, str]
    grant_public: Mapping[str, MLKEM768X25519PublicKey] = field(default_factory=dict, repr=False)
    grant_private: Mapping[str, MLKEM768X25519PrivateKey] = field(default_factory=dict, repr=False)
    cache: Mapping[str, AESGCM] = field(default_factory=dict, repr=False)
    signing_public: Mapping[str, Ed25519PublicKey] = field(default_factory=dict, repr=False)
    signing_private: Mapping[str, Ed25519PrivateKey] = field(default_factory=dict, repr=False)
    #: Names tokens in the audit without telling them.
    audit: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    #: Signs the audit's checkpoints.
    checkpoint_public: Mapping[str, Ed25519PublicKey] = field(default_factory=dict, repr=False)
    checkpoint_private: Mapping[str, Ed25519PrivateKey] = field(default_factory=dict, repr=False)
    #: Seals the dispensers' transport keys, which they make daily and share through the database.
    transport: Mapping[str, AESGCM] = field(default_factory=dict, repr=False)

    def primary_id(self, use: str) -> str:
        """The id that new values of this use are made with. Raises: KeyMissing."""
        try:
            return self.primary[use]
        except KeyError:
            raise _missing(use) from None

    def primary_key(self, use: str, held: Mapping[str, Key]) -> tuple[str, Key]:
        """The key, of those held, that new values of this use are made with, and its id.

        Raises: KeyMissing.
        """
        key_id = self.primary_id(use)
        if key_id not in held:  # as where the other half of a pair is all there is
            raise _missing(use)
        return key_id, held[key_id]

    def become(self, newer: "Keyring") -> None:
        """Hold a newer keyring's keys in place of these."""
        for held in fields(self):
            setattr(self, held.name, getattr(newer, held.name))


def _missing(use: str) -> KeyMissing:
    return KeyMissing(f"This process holds no {use} key: run `dispenser init`, or give it one.")


def generate(made: datetime = BEGINNING) -> dict[str, Any]:
    """A whole new keyring as the document that `parse` reads: one key of every use, current when made."""
    return {"version": 1, "keys": [new_key(use, made=made, current_from=made) for use in USES]}


def new_key(use: str, *, made: datetime, current_from: datetime) -> dict[str, Any]:
    """A key for the document, known from now on and used for new values from `current_from` on."""
    texts = {part: base64.b64encode(raw).decode() for part, raw in _MATERIAL[use]().items()}
    moments = {"made": made.isoformat(), "current_from": current_from.isoformat()}
    return {"id": secrets.token_hex(KEY_ID_BYTES), "use": use, **moments, **texts}


def _hybrid_pair() -> dict[str, bytes]:
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    return {
        "public": mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(),
        "private": mlkem.private_bytes_raw() + x25519.private_bytes_raw(),
    }


def _ed25519_pair() -> dict[str, bytes]:
    key = Ed25519PrivateKey.generate()
    return {"public": key.public_key().public_bytes_raw(), "private": key.private_bytes_raw()}


def _secret() -> dict[str, bytes]:
    return {"secret": secrets.token_bytes(32)}


#: How a key of each use is made.
_MATERIAL: Final[Mapping[str, Callable[[], dict[str, bytes]]]] = {
    "grant": _hybrid_pair,
    "cache": _secret,
    "signing": _ed25519_pair,
    "audit": _secret,
    "checkpoint": _ed25519_pair,
    "transport": _secret,
}
USES: Final = tuple(_MATERIAL)

#: Which parts of which keys a process needs, by role. What a role does not hold it cannot leak.
ROLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "serve": {
        "cache": ("secret",),
        "signing": ("public", "private"),
        "audit": ("secret",),
        "transport": ("secret",),
    },
    "gateway": {
        "grant": ("public",),
        "cache": ("secret",),
        "signing": ("public", "private"),
        "audit": ("secret",),
    },
    "refresher": {"grant": ("public", "private"), "cache": ("secret",), "audit": ("secret",)},
    "scheduler": {},
    "janitor": {"checkpoint": ("public", "private")},
}


def for_role(document: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The keyring's document with what a role needs, and nothing else."""
    parts = ROLES[role]
    about = ("id", "use", "made", "current_from", "retired")
    kept = [
        {name: value for name, value in entry.items() if name in (*about, *parts[entry["use"]])}
        for entry in document["keys"]
        if any(part in entry for part in parts.get(entry["use"], ()))
    ]
    return {**document, "role": role, "keys": kept}


def parse(text: str, now: datetime | None = None) -> Keyring:
    """A keyring from its JSON document. `now`: keys that become current later are held and not used for new
    values yet; None: the newest are current.

    Raises: ConfigurationError, naming no key material.
    """
    try:
        document = json.loads(text)
        entries = document["keys"]
        if document["version"] != 1:
            raise ValueError
        return _keyring(entries, now or END)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigurationError(
            ["The keyring is not one that `dispenser init` wrote: restore it from its backup."]
        ) from None


def _keyring(entries: list[dict[str, Any]], now: datetime) -> Keyring:
    material = [(entry["use"], entry["id"], _decoded(entry)) for entry in entries]

    def of(use: str, part: str) -> dict[str, bytes]:
        return {key_id: parts[part] for kind, key_id, parts in material if kind == use and part in parts}

    return Keyring(
        primary=key_record.current(entries, now),
        grant_public={k: _hybrid_public(v) for k, v in of("grant", "public").items()},
        grant_private={k: _hybrid_private(v) for k, v in of("grant", "private").items()},
        cache={k: AESGCM(v) for k, v in of("cache", "secret").items()},
        signing_public=_ed25519_public(of("signing", "public")),
        signing_private=_ed25519_private(of("signing", "private")),
        audit=of("audit", "secret"),
        checkpoint_public=_ed25519_public(of("checkpoint", "public")),
        checkpoint_private=_ed25519_private(of("checkpoint", "private")),
        transport={k: AESGCM(v) for k, v in of("transport", "secret").items()},
    )


def _ed25519_public(raw: Mapping[str, bytes]) -> dict[str, Ed25519PublicKey]:
    return {key_id: Ed25519PublicKey.from_public_bytes(value) for key_id, value in raw.items()}


def _ed25519_private(raw: Mapping[str, bytes]) -> dict[str, Ed25519PrivateKey]:
    return {key_id: Ed25519PrivateKey.from_private_bytes(value) for key_id, value in raw.items()}


def _decoded(entry: Mapping[str, Any]) -> dict[str, bytes]:
    if len(bytes.fromhex(entry["id"])) != KEY_ID_BYTES:
        raise ValueError("key id")
    return {
        part: base64.b64decode(entry[part], validate=True)
        for part in ("public", "private", "secret")
        if part in entry
    }


def _hybrid_public(raw: bytes) -> MLKEM768X25519PublicKey:
    mlkem, x25519 = raw[:MLKEM768_PUBLIC_BYTES], raw[MLKEM768_PUBLIC_BYTES:]
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
    )


def _hybrid_private(raw: bytes) -> MLKEM768X25519PrivateKey:
    seed, x25519 = raw[:MLKEM_SEED_BYTES], raw[MLKEM_SEED_BYTES:]
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed), X25519PrivateKey.from_private_bytes(x25519)
    )


def signing_private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS 8 PEM of a signing key, as JWT libraries want it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_public_pem(key: Ed25519PublicKey) -> bytes:
    """SubjectPublicKeyInfo PEM of a signing key."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
