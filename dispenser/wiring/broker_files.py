import os
from pathlib import Path
from typing import Final

from dispenser.broker_configuration import CONFIGURATION_FILE, configuration, key_file
from shared.keyring import Keyring, signing_public_pem

FOLDER: Final = "rabbitmq"


def write(home: Path, keys: Keyring) -> Path:
    """Write what RabbitMQ checks vault tokens with, and return its folder. It holds public keys alone.

    Each file is replaced whole, and the configuration names no key whose file is not there. Raises: OSError.
    """
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    held = {key_file(key_id): signing_public_pem(key) for key_id, key in keys.signing_public.items()}
    for name, pem in held.items():
        _replace(folder / name, pem)
    _replace(folder / CONFIGURATION_FILE, configuration(keys.signing_public).encode())
    for left in folder.glob(key_file("*")):
        if left.name not in held:
            left.unlink()
    return folder


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.chmod(0o644)
    fresh.replace(path)
