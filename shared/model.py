"""The nouns of the vault. Every instant is an aware UTC datetime, every duration is in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from shared.secret import Secret

ProviderName = NewType("ProviderName", str)
ServiceName = NewType("ServiceName", str)
IssuerName = NewType("IssuerName", str)
AgentName = NewType("AgentName", str)
SessionId = NewType("SessionId", str)
Owner = NewType("Owner", str)
GrantId = NewType("GrantId", str)
EnrolmentId = NewType("EnrolmentId", str)
IntentId = NewType("IntentId", str)
HandbackId = NewType("HandbackId", str)

#: The owner of team and service accounts.
SHARED_OWNER = Owner("shared")


class GrantKind(StrEnum):
    """How a provider turns a grant into an access token."""

    AUTHORIZATION_CODE = "authorization_code"  # RFC 6749 §4.1, refreshed by §6
    CLIENT_CREDENTIALS = "client_credentials"  # RFC 6749 §4.4
    JWT_BEARER = "jwt_bearer"  # RFC 7523 §2.1, a service account's key
    STATIC = "static"  # a token without expiry, such as a personal access token


class GrantState(StrEnum):
    """What the vault knows of a grant."""

    ACTIVE = "active"
    REFRESH_FAILING = "refresh_failing"  # transient; a token still valid is still served
    REAUTH_REQUIRED = "reauth_required"  # only the owner can help
    UNKNOWN = "unknown"  # a rotation's outcome is open
    REVOKED = "revoked"


#: States in which a refresh is worth trying.
REFRESHABLE = frozenset({GrantState.ACTIVE, GrantState.REFRESH_FAILING, GrantState.UNKNOWN})


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


class RefusalKind(StrEnum):
    """What a provider's refusal calls for."""

    DEAD = "dead"  # only the owner can help
    CLIENT_CONFIG = "client_config"  # our registration is refused: no grant is to blame
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"  # not carried out: the same request may do later
    AMBIGUOUS = "ambiguous"  # may have been carried out: a refresh token may be spent


class Effect(StrEnum):
    """What a policy that matches says."""

    ALLOW = "allow"
    DENY = "deny"


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


class Proof(StrEnum):
    """Whether an agent's vault tokens are bound to a key that it has to prove (RFC 7800)."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A registered identity."""

    name: AgentName
    description: str = ""
    proof: Proof = Proof.OPTIONAL
    revoked_at: datetime | None = None
    #: Calls begun in a second, in each dispenser. None: as the dispenser's settings say.
    max_requests_per_second: int | None = None
    #: Calls in hand at once, in each dispenser. None: as the dispenser's settings say.
    max_concurrency: int | None = None


class SignatureAlgorithm(StrEnum):
    """How an issuer may sign (RFC 7518 §3.1, RFC 8037, RFC 9864): with a key that only it has."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"
    ED25519 = "Ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class FromClaim:
    """A value that a workload's own token brings."""

    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRule:
    """Which workloads of an issuer are which agent, on behalf of which owner."""

    #: All have to match: texts are shell patterns, and of a list one item has to.
    claims: Mapping[str, str | bool | int]
    agent: AgentName | FromClaim
    owner: Owner | FromClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An OpenID provider whose tokens workloads exchange for vault tokens (RFC 8693). Holds no secret."""

    name: IssuerName
    #: The `iss` of its tokens.
    issuer: str
    #: Has to be in their `aud`: a token for somebody else is not for us.
    audience: str
    #: The first that matches counts.
    rules: tuple[IssuerRule, ...]
    #: None, and no `keys`: what its metadata says.
    jwks_url: str | None = None
    #: Public keys (RFC 7517) of an issuer that cannot be asked.
    keys: tuple[Mapping[str, Any], ...] = ()
    algorithms: tuple[SignatureAlgorithm, ...] = (
        SignatureAlgorithm.RS256,
        SignatureAlgorithm.ES256,
        SignatureAlgorithm.EDDSA,
    )
    #: Allows http and loopback addresses: development only.
    insecure_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which agents may have which services, for which owners. Names are shell patterns (`tracker*`)."""

    name: str
    effect: Effect
    agents: tuple[str, ...] = ("*",)
    services: tuple[str, ...] = ("*",)
    #: `$session` stands for the owner in the agent's vault token.
    owners: tuple[str, ...] = ("$session",)
    #: None: whatever the service has.
    scopes: tuple[str, ...] | None = None
    #: How long an agent may go on using a token before it has to ask again.
    max_ttl_seconds: int | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The services, and the providers they are of, as of one version: all that grants are about."""

    version: int
    providers: Mapping[ProviderName, Provider]
    services: Mapping[ServiceName, Service]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue(Offer):
    """Everything declared, as of one version. The version grows with every change."""

    agents: Mapping[AgentName, Agent]
    policies: tuple[Policy, ...]
    issuers: Mapping[IssuerName, Issuer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an owner gave for a service. One per service and owner."""

    id: GrantId
    service: ServiceName
    owner: Owner
    state: GrantState
    #: +1 with every rotation; 0 before the first token.
    generation: int
    #: The scopes really granted, which may be fewer than asked for.
    scopes: tuple[str, ...]
    #: Refresh token or service-account key, sealed to the refreshers' key; None where the client's own
    #: credentials are the grant.
    sealed_credential: bytes | None
    #: Names the credential without telling it: the lineage of a rotation.
    credential_fingerprint: bytes
    #: The current generation's access token under the cache key, as it lies in the cache.
    sealed_token: bytes | None
    #: None: the token does not expire.
    token_expires_at: datetime | None
    #: None: nothing to refresh.
    refresh_at: datetime | None
    #: Refreshes that failed in a row.
    failures: int
    #: The last failure's code, such as `invalid_grant`. Never a response body.
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    #: When the credential ends, used or not. None: nobody has said.
    credential_expires_at: datetime | None = None
    #: When its owner is to be told of that. None: told, or nothing to tell.
    warn_at: datetime | None = None
    #: When the credential was first sent without an answer that tells what became of it: it may be spent.
    unsure_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a provider issued. Exists unsealed only in a refresher and on its way to an agent."""

    value: Secret
    token_type: str
    scopes: tuple[str, ...]
    issued_at: datetime
    #: None: it does not expire.
    expires_at: datetime | None
    generation: int
    grant_id: GrantId


class EnrolmentState(StrEnum):
    """How far a connection has come."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A credential on its way in: written by whoever connects an account, opened by a refresher only."""

    id: EnrolmentId
    service: ServiceName
    owner: Owner
    state: EnrolmentState
    #: A `Presented`, sealed to the refreshers' key; wiped once the enrolment has ended.
    sealed: bytes | None
    #: Why it failed, such as `invalid_grant`.
    error: str | None
    created_at: datetime
    expires_at: datetime


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The journal's line "about to redeem this credential": written before the provider is asked."""

    id: IntentId
    grant_id: GrantId
    #: The grant's generation before the rotation.
    generation: int
    #: Which credential is redeemed: the parent in the lineage.
    fingerprint: bytes
    #: The refresher that holds it.
    holder: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handback:
    """A revoked grant's credential on its way back to the provider (RFC 7009), opened by a refresher only."""

    id: HandbackId
    grant_id: GrantId
    service: ServiceName
    owner: Owner
    #: Which the credential is sealed for: the grant's before it was revoked, or what would have followed.
    generation: int
    sealed_credential: bytes
    created_at: datetime


class RevocationKind(StrEnum):
    """What a revocation is about."""

    ALL = "all"
    AGENT = "agent"
    SESSION = "session"
    OWNER = "owner"
    TOKEN = "token"  # noqa: S105 - one vault token, by its `jti`


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Vault tokens of a subject issued at or before `revoked_at` are void."""

    kind: RevocationKind
    #: Agent, session, owner or a vault token's id; empty for `all`.
    subject: str
    revoked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One decision. Holds no secret."""

    #: The process that wrote it, and its place in that process's journal.
    writer: str
    sequence: int
    at: datetime
    #: `token.dispensed`, `token.denied`, `grant.connected`, `grant.refreshed`, `agent.revoked`, …
    action: str
    #: A reply code of the protocol, or an outcome class.
    outcome: str
    agent: str = ""
    session: str = ""
    owner: str = ""
    service: str = ""
    generation: int | None = None
    #: HMAC of the token handed out: finds it again without telling it.
    fingerprint: str = ""
    #: The scopes that were granted.
    scopes: tuple[str, ...] = ()
    #: The scopes that were asked for; empty: whatever the service has.
    scopes_asked: tuple[str, ...] = ()
    #: The policy that decided, and the version of all that was declared then.
    policy: str = ""
    catalogue_version: int = 0
    request_id: str = ""
    purpose: str = ""
    #: `amqp`, `http`, `cli` or a worker's name.
    door: str = ""
    #: Who acted, where it was no agent: an admin's name.
    admin: str = ""
    #: Who acts for the agent with a vault token that was delegated, nearest first (`act`, RFC 8693 §4.1).
    actors: tuple[str, ...] = ()
    #: A sentence for people.
    reason: str = ""
    #: How many it stands for: denials that one record counts, records that were purged.
    count: int = 1
    #: What makes a journal's line provably the next one: see `audit_line`.
    chain: str = field(default="", repr=False)


class SealedColumn(StrEnum):
    """Where sealed values lie in the database: table and column."""

    PROVIDER_SECRETS = "providers.sealed_secrets"
    CREDENTIALS = "grants.sealed_credential"
    TOKENS = "grants.sealed_token"
    PARKED = "intents.parked"
    ENROLMENTS = "enrolments.sealed"
    VERIFIERS = "consents.sealed_verifier"
    TRANSPORT_KEYS = "transport_keys.sealed"
    HANDBACKS = "handbacks.sealed_credential"

    @property
    def use(self) -> str:
        """The use of the keys that the values are sealed with."""
        match self:
            case SealedColumn.TOKENS | SealedColumn.VERIFIERS:
                return "cache"
            case SealedColumn.TRANSPORT_KEYS:
                return "transport"
            case _:
                return "grant"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRow:
    """A sealed value where it lies."""

    column: SealedColumn
    #: Of the row, in its table.
    id: str | bytes | int
    sealed: bytes = field(repr=False)
    #: What of the row the envelope is bound to, in the order of sealing.
    bound_to: tuple[str, ...]
