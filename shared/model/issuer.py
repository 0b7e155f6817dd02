from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.model.names import AgentName, IssuerName, Owner


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
