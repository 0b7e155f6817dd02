from dataclasses import dataclass

from shared.model.provider import Client
from shared.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """What the callback brought (RFC 6749 §4.1.2) and what its exchange needs (RFC 7636 §4.5)."""

    code: Secret
    verifier: Secret
    redirect_uri: str
    scopes: tuple[str, ...]
    #: Whose consent was asked for. None: nobody has said, so it is sent nowhere.
    client: Client | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A refresh token."""

    value: Secret
    #: Which client it was given to. None: nobody has said, so it is sent nowhere.
    client: Client | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticToken:
    """A token without expiry. No provider gets to see it again."""

    value: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountKey:
    """The private key of a service account, in PEM, with the claims it signs for (RFC 7523 §3)."""

    private_key: Secret
    issuer: str
    key_id: str | None = None
    subject: str | None = None
    #: Whose assertions it signs: in another's hands, one is as good as the key for as long as it lives.
    client: Client | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientItself:
    """Nothing but the client's own registration (RFC 6749 §4.4), or the provider's own key (RFC 7523)."""


#: What an owner presents to connect a service.
Presented = AuthorizationCode | RefreshToken | StaticToken | ServiceAccountKey | ClientItself

#: What a grant keeps, sealed, between refreshes. `ClientItself` is kept as nothing at all.
Credential = RefreshToken | StaticToken | ServiceAccountKey | ClientItself
