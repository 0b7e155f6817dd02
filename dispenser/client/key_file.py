import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser.agent_key import from_pem
from dispenser.client.errors import Misconfigured


def read(file: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises: Misconfigured."""
    try:
        return from_pem(Path(file).read_bytes())
    except OSError as error:
        raise Misconfigured(f"VAULT_AGENT_KEY names a file that cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise Misconfigured(f"VAULT_AGENT_KEY names a file that holds no key: {error}.") from None
