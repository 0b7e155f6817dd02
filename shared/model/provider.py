from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.model.names import ProviderName, ServiceName
from shared.model.rotation import RefusalKind
from shared.secret import Secret


class GrantKind(StrEnum):
    """How a provider turns a grant into an access token."""

    AUTHORIZATION_CODE = "authorization_code"  # RFC 6749 §4.1, refreshed by §6
    CLIENT_CREDENTIALS = "client_credentials"  # RFC 6749 §4.4
    JWT_BEARER = "jwt_bearer"  # RFC 7523 §2.1, a service account's key
    STATIC = "static"  # a token without expiry, such as a personal access token


class ClientAuth(StrEnum):
    """Client authentication at the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2)."""

    BASIC = "basic"
    BODY = "body"
    PRIVATE_KEY_JWT = "private_key_jwt"
    NONE = "none"


class OnReuse(StrEnum):
    """What a provider does when it sees a spent refresh token again."""

    DENY = "deny"
    REVOKE_FAMILY = "revoke_family"


class BodyFormat(StrEnum):
    """How the token endpoint wants its request."""

    FORM = "form"
    JSON = "json"


class ExpiryUnit(StrEnum):
    """In what a provider counts `expires_in`; RFC 6749 §5.1 says seconds."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A provider's habits with refresh tokens. The default is the most careful one."""

    #: A refresh answers with a new refresh token and spends the old one.
    rotates: bool = True
    #: Seconds in which a spent refresh token is still accepted.
    grace_seconds: int = 0
    on_reuse: OnReuse = OnReuse.REVOKE_FAMILY


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPath:
    """In which member of an answer its fields are, as in `authed_user` or `data.token`. Empty: at the top."""

    #: Of the answer to an authorization code.
    exchange: str = ""
    #: Of the answer to a refresh, which may differ (Slack's user tokens).
    refresh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Our registration at an authorization server, by what tells it from any other.

    What it was given is of use to it alone (RFC 6749 §6, §10.4), and is shown nowhere else.
    """

    client_id: str
    token_url: str
    #: None: nothing is given back there.
    revocation_url: str | None = None

    @property
    def asks(self) -> tuple[str, str]:
        """Who asks for tokens, and where."""
        return self.client_id, self.token_url

    @property
    def gives_back(self) -> tuple[str, str | None]:
        """Who gives tokens back, and where."""
        return self.client_id, self.revocation_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An OAuth 2.0 authorization server and our client registration there. Holds no secret."""

    name: ProviderName
    client_id: str = ""
    token_url: str = ""
    authorization_url: str | None = None
    revocation_url: str | None = None
    #: Where set, the `iss` of a callback must equal it (RFC 9207 §2.4).
    issuer: str | None = None
    #: The metadata promised `iss` in callbacks, so one without it is refused (RFC 9207 §2.4).
    issuer_in_callback: bool = False
    grant: GrantKind = GrantKind.AUTHORIZATION_CODE
    client_auth: ClientAuth = ClientAuth.BASIC
    rotation: Rotation = field(default_factory=Rotation)
    redirect_uri: str | None = None
    #: Allows http and loopback addresses: development only.
    insecure_local: bool = False
    scope_separator: str = " "
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    token_params: Mapping[str, str] = field(default_factory=dict)
    body_format: BodyFormat = BodyFormat.FORM
    #: Some providers refuse `scope` on refresh, so it is sent only where asked for.
    scope_on_refresh: bool = False
    expires_in_unit: ExpiryUnit = ExpiryUnit.SECONDS
    #: Seconds that a token without `expires_in` is taken to live.
    default_expires_in_seconds: int = 3600
    #: Seconds that a token is believed to live at most, whatever the provider says.
    max_expires_in_seconds: int | None = None
    answer_path: AnswerPath = field(default_factory=AnswerPath)
    #: What this provider's own error codes call for, and those that it uses otherwise than the RFC;
    #: `http_418` stands for a status without a code.
    errors: Mapping[str, RefusalKind] = field(default_factory=dict)
    #: Seconds after which a refresh token that lies unused ends.
    refresh_token_idle_seconds: int | None = None
    #: Seconds after a consent at which its refresh tokens end, used or not.
    refresh_token_life_seconds: int | None = None
    #: Refresh requests under way at once, in each refresher.
    max_concurrency: int = 16
    #: Refresh requests begun in a second, in each refresher.
    max_requests_per_second: int | None = None
    #: Claims of a JWT bearer assertion (RFC 7523 §3); `aud` is the issuer or the token endpoint.
    assertion_issuer: str | None = None
    assertion_subject: str | None = None
    assertion_audience: str | None = None
    assertion_key_id: str | None = None

    @property
    def client(self) -> Client:
        """Which client a grant of this provider is given to, as it is declared now."""
        return Client(client_id=self.client_id, token_url=self.token_url, revocation_url=self.revocation_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSecrets:
    """What of a provider is sealed to the refreshers' key. Opened in a refresher only."""

    #: In order of preference: several while one is being replaced.
    client_secrets: tuple[Secret, ...] = ()
    #: PEM, for `private_key_jwt` and JWT bearer assertions.
    private_key: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an agent names."""

    name: ServiceName
    provider: ProviderName
    scopes: tuple[str, ...] = ()
    #: The resource a token is for (RFC 8707), where the provider knows one.
    audience: str | None = None
