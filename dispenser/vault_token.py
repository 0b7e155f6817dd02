"""The agent's own short-lived credential: a JWT (RFC 7519) signed with EdDSA (RFC 8037), for minutes.

It is made so that RabbitMQ takes it as a password too: always a `sub`, never a `client_id`, an integer `exp`,
`rabbitmq` in the audience, and the agent's rights there in `scope`
(https://www.rabbitmq.com/docs/oauth2#token-validation).
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet, OKPKey

from dispenser.narrowing import UNLIMITED, Narrowing, from_claim
from shared import topology
from shared.keyring import Keyring
from shared.model import Agent, AgentName, Owner, Proof, SessionId

#: What RabbitMQ calls itself, so that a vault token is for it too, and the prefix of its rights in `scope`.
BROKER_AUDIENCE: Final = "rabbitmq"
#: RFC 9864 renames it `Ed25519`; RabbitMQ knows it by its older name only.
ALGORITHM: Final = "EdDSA"
DEFAULT_TTL_SECONDS: Final = 15 * 60
#: Revocations are remembered for as long as a vault token can live.
LONGEST_TTL_SECONDS: Final = 24 * 3600
#: A token this many seconds "from the future" is taken: the minter's clock may be ahead.
SKEW_SECONDS: Final = 30
#: A revocation is seen by every process within this many seconds, even where the cache loses it.
REVOCATION_SEEN_SECONDS: Final = 5
#: RabbitMQ before 4.1 resets a connection whose password is longer.
MAX_CHARACTERS: Final = 3600

warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class InvalidVaultToken(ValueError):
    """A text that is no live vault token of this vault. The message is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a vault token speaks for: one session of an agent, on behalf of one owner."""

    agent: AgentName
    session: SessionId
    owner: Owner
    token_id: str
    issued_at: datetime
    expires_at: datetime
    #: Thumbprint (RFC 7638) of the key that whoever uses the token has to prove; None: it is a bearer token.
    key: str | None = None
    #: Where no renewal goes beyond; None: renewed for as long as its agent lives.
    until: datetime | None = None
    #: Who acts with it on the agent's behalf, the current one first (RFC 8693 §4.1); none: the agent itself.
    actors: tuple[AgentName, ...] = ()
    narrowing: Narrowing = UNLIMITED

    @property
    def acts_for(self) -> Owner:
        """Whose account is meant where a call names none."""
        return self.narrowing.owner or self.owner


def mint(keys: Keyring, identity: Identity, *, vault: str) -> str:
    """A vault token for an identity. Raises: KeyMissing."""
    key_id, private = keys.primary_key("signing", keys.signing_private)
    claims = {
        "iss": vault,
        "sub": identity.agent,
        "sid": identity.session,
        "own": identity.owner,
        "jti": identity.token_id,
        "aud": [BROKER_AUDIENCE, vault],
        # With its fraction: a token made right after a revocation is told from one made before it.
        "iat": identity.issued_at.timestamp(),
        "exp": int(identity.expires_at.timestamp()),
        "scope": _broker_rights(identity.agent),
        **_further_claims(identity),
    }
    key = OKPKey.import_key(private)
    return jwt.encode({"alg": ALGORITHM, "kid": key_id}, claims, key, algorithms=[ALGORITHM])


def sufficient(identity: Identity, agent: Agent) -> bool:
    """The token is bound to a key where its agent's have to be."""
    return identity.key is not None or agent.proof is not Proof.REQUIRED


def token_type(identity: Identity) -> str:
    """How the token is to be sent: as RFC 6750 or, where it is bound to a key, as RFC 9449 §5 says."""
    return "Bearer" if identity.key is None else "DPoP"


def renewed(identity: Identity, token_id: str, now: datetime, life: timedelta) -> Identity:
    """The same agent, session and owner, with a new token id and a new life.

    Issued a little before `now`: a revocation that the renewal has not seen yet voids the new token too.
    """
    issued_at = max(identity.issued_at, now - timedelta(seconds=REVOCATION_SEEN_SECONDS))
    expires_at = now + life if identity.until is None else min(now + life, identity.until)
    return replace(identity, token_id=token_id, issued_at=issued_at, expires_at=expires_at)


def verify(keys: Keyring, text: str, *, vault: str, now: datetime) -> Identity:
    """Whom a vault token speaks for. Raises: InvalidVaultToken."""
    if not text or len(text) > MAX_CHARACTERS:
        raise InvalidVaultToken("There is no vault token here: set VAULT_AGENT_TOKEN.")
    try:
        claims = jwt.decode(text, verification_keys(keys), algorithms=[ALGORITHM]).claims
        identity = _identity(claims, vault)
    except (JoseError, ValueError, KeyError, TypeError, OverflowError, OSError):
        raise InvalidVaultToken("This is not a vault token that this vault has made.") from None
    if now >= identity.expires_at:
        raise InvalidVaultToken("The vault token has expired: renew it before its end, or ask for a new one.")
    if identity.issued_at > now + timedelta(seconds=SKEW_SECONDS):
        raise InvalidVaultToken("The vault token is from the future: the clocks of these machines differ.")
    return identity


def verification_keys(keys: Keyring) -> KeySet:
    """The public signing keys (RFC 7517), as `/.well-known/jwks.json` shows them too."""
    return KeySet(
        [
            OKPKey.import_key(key, {"kid": key_id, "alg": ALGORITHM, "use": "sig"})
            for key_id, key in keys.signing_public.items()
        ]
    )


def _identity(claims: Mapping[str, Any], vault: str) -> Identity:
    if claims["iss"] != vault or type(claims["exp"]) is not int or type(claims["iat"]) not in (int, float):
        raise ValueError("claims")
    # A text would do in RFC 7519 §4.1.3, and `in` would find us in the middle of another's name.
    if not isinstance(claims["aud"], list) or vault not in claims["aud"]:
        raise ValueError("claims")
    texts = {name: claims[name] for name in ("sub", "sid", "own", "jti")}
    if not all(isinstance(text, str) and text for text in texts.values()):
        raise ValueError("claims")
    return Identity(
        agent=AgentName(texts["sub"]),
        session=SessionId(texts["sid"]),
        owner=Owner(texts["own"]),
        token_id=texts["jti"],
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        key=_key(claims),
        until=datetime.fromtimestamp(claims["until"], UTC) if "until" in claims else None,
        actors=tuple(_actors(claims)),
        narrowing=from_claim(claims.get("only", {})),
    )


def _further_claims(identity: Identity) -> dict[str, Any]:
    """What not every vault token has to say."""
    act: dict[str, Any] | None = None
    for actor in reversed(identity.actors):
        act = {"sub": actor} if act is None else {"sub": actor, "act": act}
    said = {
        "cnf": None if identity.key is None else {"jkt": identity.key},
        "until": None if identity.until is None else int(identity.until.timestamp()),
        "act": act,
        "only": identity.narrowing.claim() or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _actors(claims: Mapping[str, Any]) -> Iterator[AgentName]:
    while "act" in claims:
        claims = claims["act"]
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise ValueError("claims")
        yield AgentName(claims["sub"])


def _key(claims: Mapping[str, Any]) -> str | None:
    """`cnf` (RFC 7800 §3.1). One that names no key we can check must not read as none."""
    if "cnf" not in claims:
        return None
    key = claims["cnf"]["jkt"]
    if not isinstance(key, str) or not key:
        raise ValueError("claims")
    return key


def _broker_rights(agent: AgentName) -> str:
    """Exactly its request key and its own reply queues (https://www.rabbitmq.com/docs/oauth2#scope-translation)."""
    replies = quote(f"{topology.REPLY_PREFIX}{agent}.", safe=".") + "*"
    rights = {"write": topology.RPC_EXCHANGE, "configure": replies, "read": replies}
    return " ".join(f"{BROKER_AUDIENCE}.{right}:*/{resource}" for right, resource in rights.items())
