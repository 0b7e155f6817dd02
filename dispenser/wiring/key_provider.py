"""Who wraps the keyring: one of the two that are in the box, or a plugin's."""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dispenser.key_provider import GROUP, KeyProvider
from shared.errors import ConfigurationError

VARIABLE: Final = "DISPENSER_KEY_PROVIDER"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
#: Authenticated with every wrapped keyring: the key opens nothing else that it may have sealed elsewhere.
PURPOSE: Final = b"dispenser keyring"
_MAKE_ONE: Final = "make one with `openssl rand -base64 32`"


class AesKeyProvider:
    """Wraps under a key of one's own (AES-256-GCM), kept apart from the keyring."""

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)

    def wrap(self, keyring: bytes) -> bytes:
        """Nonce, then ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, keyring, PURPOSE)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises: InvalidTag, ValueError."""
        return self._key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], PURPOSE)


def named(text: str, environment: Mapping[str, str]) -> KeyProvider:
    """The provider that a setting `NAME:ARGUMENT` asks for.

    Raises: ConfigurationError where there is none of that name, or it cannot be made.
    """
    name, _, argument = text.partition(":")
    if name == "file":
        return AesKeyProvider(_key(_file(argument), f"{VARIABLE}: the file {argument}"))
    if name == "environment":
        return AesKeyProvider(_key(environment.get(argument, ""), f"{VARIABLE}: the variable {argument}"))
    try:
        return _plugin(name)(argument)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin's; its message might tell a secret
        raise ConfigurationError(
            [f"{VARIABLE}: the key provider {name} cannot be made ({type(error).__name__})."]
        ) from None


def _plugin(name: str) -> Callable[[str], KeyProvider]:
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted({"file", "environment", *found.names}))
        raise ConfigurationError([f"{VARIABLE}: there is no key provider {name!r}; installed are {known}."])
    plugin: Callable[[str], KeyProvider] = found[name].load()
    return plugin


def _file(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise ConfigurationError([f"{VARIABLE}: the file {path} cannot be read ({why})."]) from None


def _key(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError([f"{place} holds no key of {KEY_BYTES} bytes in base64: {_MAKE_ONE}."])
    return key
