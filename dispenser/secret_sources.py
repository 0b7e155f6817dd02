"""Reads the secrets that declared files name, from the environment and from files."""

from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dispenser.declared import Declarations, SecretReference
from shared.errors import ConfigurationError
from shared.model import ProviderName, ProviderSecrets
from shared.secret import Secret


def read_secrets(
    declarations: Declarations, environment: Mapping[str, str]
) -> dict[ProviderName, ProviderSecrets]:
    """The secrets of every provider that has any, without their trailing newline.

    Raises: ConfigurationError naming every secret that is missing, empty or no private key; never one itself.
    """
    mistakes: list[str] = []

    def text(reference: SecretReference) -> str:
        try:
            return _text(reference, environment)
        except ValueError as error:
            mistakes.append(f"{reference.place}: {error}")
            return ""

    def key(reference: SecretReference) -> str:
        pem = text(reference)
        if pem and not _private_key(pem):
            mistakes.append(f"{reference.place}: not a private key in PEM without a passphrase")
        return pem

    secrets = {
        name: ProviderSecrets(
            client_secrets=tuple(Secret(text(reference)) for reference in references.client_secrets),
            private_key=None if references.private_key is None else Secret(key(references.private_key)),
        )
        for name, references in declarations.secrets.items()
    }
    if mistakes:
        raise ConfigurationError(mistakes)
    return secrets


def _text(reference: SecretReference, environment: Mapping[str, str]) -> str:
    """Raises: ValueError, its message for people."""
    if reference.env is not None:
        if reference.env not in environment:
            raise ValueError(f"the environment variable {reference.env} is not set: set it and apply again")
        found = environment[reference.env]
    else:
        found = _content(Path(reference.declared_in).parent / (reference.file or ""))
    if not (stripped := found.rstrip("\r\n")):
        raise ValueError("the secret named here is empty")
    return stripped


def _content(path: Path) -> str:
    # Neither path nor content is told: somebody may have put the secret where the path belongs.
    try:
        return path.read_text("utf-8")
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
    except ValueError:
        reason = "not text in UTF-8"
    raise ValueError(
        f"the file named here cannot be read ({reason}); a relative path starts at the declared file's folder"
    )


def _private_key(pem: str) -> bool:
    try:
        load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
