"""Which door of the vault an agent goes to, and with which vault token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from dispenser.client import credential
from dispenser.client.credential import Credential
from dispenser.client.errors import Misconfigured

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KINDS: Final[Mapping[str, Literal["amqp", "http"]]] = {
    "amqp": "amqp",
    "amqps": "amqp",
    "http": "http",
    "https": "http",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to ask, and as whom."""

    kind: Literal["amqp", "http"]
    #: May hold a RabbitMQ password.
    url: str = field(repr=False)
    credential: Credential
    #: The key that the vault token is bound to, where it is.
    key: "Ed25519PrivateKey | None" = field(default=None, repr=False)
    #: Who vouches for the vault's certificate. None: whom the machine trusts.
    authority: "ssl.SSLContext | None" = None


def configured(
    url: str | None, token: str | None, environment: Mapping[str, str], key: "Ed25519PrivateKey | None" = None
) -> Door:
    """The door in arguments, or else in VAULT_URL and VAULT_AGENT_TOKEN. Raises: Misconfigured."""
    url = (url or environment.get("VAULT_URL", "")).strip()
    token = (token or environment.get("VAULT_AGENT_TOKEN", "")).strip()
    found = (_url_mistake(url), _token_mistake(token) or _key_mistake(credential.read(token), key))
    mistakes = [mistake for mistake in found if mistake]
    if mistakes:
        raise Misconfigured("\n".join(mistakes))
    return Door(kind=_KINDS[urlsplit(url).scheme], url=url, credential=credential.read(token), key=key)


def _url_mistake(url: str) -> str | None:
    """The URL is never shown: it may hold a password."""
    if not url:
        return "VAULT_URL is not set: the vault's address, as in amqps://broker.example/vault or https://…"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _KINDS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    return None if valid else "VAULT_URL is not an address that begins with amqp(s):// or http(s)://."


def _key_mistake(held: Credential, key: "Ed25519PrivateKey | None") -> str | None:
    if key is None:
        if held.key is None:
            return None
        return "VAULT_AGENT_KEY is not set: the vault token is bound to a key; name the file that holds it."
    from dispenser.agent_key import thumbprint  # noqa: PLC0415 - loads cryptography

    if held.key == thumbprint(key.public_key()):
        return None
    return "VAULT_AGENT_KEY is not the key that the vault token is bound to; `agent token --key` binds."


def _token_mistake(token: str) -> str | None:
    if not token:
        return "VAULT_AGENT_TOKEN is not set: the vault token, from `dispenser agent token NAME --owner U`."
    try:
        credential.read(token)
    except ValueError as error:
        return f"VAULT_AGENT_TOKEN is not a vault token: {error}. Get one with `dispenser agent token`."
    return None
