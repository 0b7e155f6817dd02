"""Signed statements of how large the audit's tree is and what its root is.

Checkpoints are signed notes (https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note): witnesses that
know nothing of vaults can keep, compare and countersign them.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.merkle import HASH_BYTES

ED25519: Final = b"\x01"
KEY_ID_BYTES: Final = 4
ED25519_BYTES: Final = 32
_NOTE: Final = re.compile(r"(?:[^\n—][^\n]*\n){3,}\n(?:— [^\n]+\n)+")
_SIGNATURE: Final = re.compile(r"— (\S+) (\S+)\n")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree's size and root, in the name of its log."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A log's name and the public key that its checkpoints are signed with."""

    name: str
    key: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """From its encoding as a verifier key, `<name>+<id>+<key>`. Raises: ValueError."""
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        raw = base64.b64decode(encoded, validate=True)
        if not name or raw[:1] != ED25519 or len(raw) != 1 + ED25519_BYTES:
            raise ValueError("not an Ed25519 verifier key")
        verifier = cls(name=name, key=Ed25519PublicKey.from_public_bytes(raw[1:]))
        if verifier.id.hex() != identity:
            raise ValueError("the key's id is not its own")
        return verifier

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.key.public_bytes_raw()).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @property
    def id(self) -> bytes:
        """Tells keys of one name apart."""
        named = self.name.encode() + b"\n" + ED25519 + self.key.public_bytes_raw()
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]


def origin(vault: str) -> str:
    """The name of a vault's log, and of the keys that sign for it."""
    return f"token-dispenser/{quote(vault, safe='')}"


def signed(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """A checkpoint as a signed note."""
    root = base64.b64encode(checkpoint.root).decode()
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"
    verifier = Verifier(name=checkpoint.origin, key=key.public_key())
    signature = base64.b64encode(verifier.id + key.sign(text.encode())).decode()
    return f"{text}\n— {checkpoint.origin} {signature}\n"


def opened(note: str, verifiers: Iterable[Verifier]) -> Checkpoint | None:
    """The checkpoint in a note. None: it is none, or none of these keys has signed it."""
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    if any(_has_signed(verifier, text, signatures) for verifier in verifiers):
        return _parsed(text)
    return None


def notes_in(text: str) -> list[str]:
    """The notes in a text of several; what is torn is passed over."""
    return _NOTE.findall(text)


def _has_signed(verifier: Verifier, text: str, signatures: str) -> bool:
    for name, encoded in _SIGNATURE.findall(signatures):
        if name != verifier.name or not text.startswith(f"{name}\n"):
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
            verifier.key.verify(signature[KEY_ID_BYTES:], text.encode())
        except (ValueError, InvalidSignature):
            continue
        return signature.startswith(verifier.id)
    return False


def _parsed(text: str) -> Checkpoint | None:
    name, size, encoded, *_ = text.split("\n")
    try:
        root = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    if not _SIZE.fullmatch(size) or len(root) != HASH_BYTES:
        return None
    return Checkpoint(origin=name, size=int(size), root=root)
