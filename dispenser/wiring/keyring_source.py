"""Where a process's keyring lies, as its settings say: read, made, changed, and unwrapped on the way."""

import base64
import binascii
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dispenser.wiring import key_provider
from dispenser.wiring.keyfile import KeyFile
from shared import keyring
from shared.errors import ConfigurationError, KeyMissing, KeyProviderFailed
from shared.keyring import Keyring
from shared.settings import Settings

FILE: Final = "keys.json"
PARTIAL: Final = (
    "DISPENSER_KEYS: this file holds a role's part of the keyring alone. "
    "Run the command where the whole keyring is, and export the part anew."
)
UNCHANGEABLE: Final = (
    "DISPENSER_KEYS: this keyring is given as a text, so it cannot be changed from here. "
    "Run the command where the keyring's file lies."
)
Document = dict[str, Any]


class KeyringSource:
    """A file, a variable or a text that holds a keyring, and who wraps it.

    Raises, whatever is asked: KeyMissing where there is none, KeyProviderFailed where it does not unwrap,
    ConfigurationError where it is none.
    """

    def __init__(self, settings: Settings) -> None:
        kind, _, argument = settings.keys.partition(":")
        given = settings.keys.startswith("{")
        self._text = settings.keys if given else None
        self._variable = argument if kind == "env" and not given else None
        self.file = _file(settings) if self._text is None and self._variable is None else None
        self._provider_name, _, _ = settings.key_provider.partition(":")
        self._provider = (
            key_provider.named(settings.key_provider, os.environ) if settings.key_provider else None
        )

    def text(self) -> str:
        """What lies there, wrapped or not."""
        if self.file is not None:
            return self.file.read()
        text = self._text if self._variable is None else os.environ.get(self._variable)
        if not text:
            raise KeyMissing(f"There is no keyring in the variable {self._variable}.")
        return text

    def load(self, now: datetime) -> Keyring:
        """The keyring, with the keys that are current then."""
        return keyring.parse(self.unwrapped(self.text()), now)

    def document(self) -> Document:
        """The keyring's document."""
        text = self.unwrapped(self.text())
        keyring.parse(text)
        document: Document = json.loads(text)
        return document

    def create(self, now: datetime) -> bool:
        """Make a keyring, or the keys of uses that the one there has none of. True: something was made."""
        if self.file is None or (self.file.path.exists() and "role" in self.document()):
            self.document()
            return False
        with self.file.locked():
            document = self.document() if self.file.path.exists() else {"version": 1, "keys": []}
            completed = _completed(document, now)
            if completed != document:
                self.file.replace(self.wrapped(json.dumps(completed)))
            return completed != document

    def change(self, edit: Callable[[Document], Document]) -> Document:
        """Write what `edit` makes of the document, while nobody else does. Raises: ConfigurationError."""
        file = self._changeable()
        with file.locked():
            document = self.document()
            if "role" in document:
                raise ConfigurationError([PARTIAL])
            changed = edit(document)
            file.replace(self.wrapped(json.dumps(changed)))
        return changed

    def take_over(self, before: "KeyringSource") -> None:
        """Write the keyring that another provider opens in this one's way. Raises: ConfigurationError."""
        file = self._changeable()
        with file.locked():
            file.replace(self.wrapped(json.dumps(before.document())))

    def wrapped(self, text: str) -> str:
        """A keyring's text as it may lie about."""
        if self._provider is None:
            return text
        return _envelope(self._provider_name, self._called(self._provider.wrap, text.encode()))

    def unwrapped(self, text: str) -> str:
        """A keyring's text as it lies about, opened."""
        found = _parsed(text)
        by = found.get("wrapped_by")
        if by is None and self._provider is None:
            return text
        if by != self._provider_name or self._provider is None:
            raise ConfigurationError([_mismatch(by, self._provider_name)])
        return self._called(self._provider.unwrap, _wrapped_bytes(found)).decode()

    def _changeable(self) -> KeyFile:
        if self.file is None:
            raise ConfigurationError([UNCHANGEABLE])
        return self.file

    def _called(self, call: Callable[[bytes], bytes], content: bytes) -> bytes:
        try:
            return call(content)
        except Exception as error:  # noqa: BLE001 - a plugin's; its message might tell a secret
            raise KeyProviderFailed(
                f"The key provider {self._provider_name} did not open the keyring, or not close it "
                f"({type(error).__name__})."
            ) from None


def _file(settings: Settings) -> KeyFile:
    _, _, path = settings.keys.partition(":")
    return KeyFile(Path(path).expanduser() if path else settings.home / FILE)


def _completed(document: Document, now: datetime) -> Document:
    held = {entry["use"] for entry in document["keys"]}
    made = [keyring.new_key(use, made=now, current_from=now) for use in keyring.USES if use not in held]
    return {**document, "keys": [*document["keys"], *made]}


def _parsed(text: str) -> Document:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _envelope(by: str, wrapped: bytes) -> str:
    return json.dumps({"version": 1, "wrapped_by": by, "keyring": base64.b64encode(wrapped).decode()})


def _wrapped_bytes(found: Document) -> bytes:
    try:
        return base64.b64decode(found["keyring"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise ConfigurationError(
            ["The wrapped keyring is not one that the dispenser wrote: restore it from its backup."]
        ) from None


def _mismatch(by: object, provider: str) -> str:
    is_ = f"wrapped by {by}" if isinstance(by, str) else "not wrapped"
    wanted = f"asks for {provider}" if provider else "is not set"
    return (
        f"The keyring is {is_}, and DISPENSER_KEY_PROVIDER {wanted}. Set it to what the keyring needs; "
        "`dispenser keys wrap` brings a keyring from one provider to another."
    )
