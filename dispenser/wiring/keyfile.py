import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared import keyring
from shared.errors import KeyMissing
from shared.keyring import Keyring

VARIABLE: Final = "DISPENSER_KEYS"
FILE: Final = "keys.json"


def load(home: Path, environment: Mapping[str, str]) -> Keyring:
    """The keyring, from the environment or else from the state folder.

    Raises: KeyMissing where there is none, ConfigurationError where it does not parse.
    """
    return keyring.parse(environment.get(VARIABLE) or read(home))


def read(home: Path) -> str:
    """The text of the state folder's keyring. Raises: KeyMissing."""
    try:
        return (home / FILE).read_text()
    except FileNotFoundError:
        raise KeyMissing(f"There is no keyring at {home / FILE}: run `dispenser init`.") from None


def create(home: Path) -> bool:
    """Write a new keyring, readable by its owner alone, unless there is one. True: it was written."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump(keyring.generate(), file)
        file.flush()
        os.fsync(file.fileno())
    return True
