"""The nouns of the vault. Every instant is an aware UTC datetime, every duration is in seconds."""

from shared.model.agent import Agent, Proof
from shared.model.audit import AuditRecord
from shared.model.catalogue import Catalogue, Offer
from shared.model.credential import (
    AuthorizationCode,
    ClientItself,
    Credential,
    Presented,
    RefreshToken,
    ServiceAccountKey,
    StaticToken,
)
from shared.model.enrolment import Enrolment, EnrolmentState
from shared.model.grant import REFRESHABLE, AccessToken, Grant, GrantState
from shared.model.issuer import FromClaim, Issuer, IssuerRule, SignatureAlgorithm
from shared.model.names import (
    SHARED_OWNER,
    AgentName,
    EnrolmentId,
    GrantId,
    HandbackId,
    IntentId,
    IssuerName,
    Owner,
    ProviderName,
    ServiceName,
    SessionId,
)
from shared.model.policy import Effect, Policy
from shared.model.provider import (
    AnswerPath,
    BodyFormat,
    Client,
    ClientAuth,
    ExpiryUnit,
    GrantKind,
    OnReuse,
    Provider,
    ProviderSecrets,
    Rotation,
    Service,
)
from shared.model.revocation import Revocation, RevocationKind
from shared.model.rotation import Handback, Intent, RefusalKind
from shared.model.sealed import SealedColumn, SealedRow

__all__ = [
    "REFRESHABLE",
    "SHARED_OWNER",
    "AccessToken",
    "Agent",
    "AgentName",
    "AnswerPath",
    "AuditRecord",
    "AuthorizationCode",
    "BodyFormat",
    "Catalogue",
    "Client",
    "ClientAuth",
    "ClientItself",
    "Credential",
    "Effect",
    "Enrolment",
    "EnrolmentId",
    "EnrolmentState",
    "ExpiryUnit",
    "FromClaim",
    "Grant",
    "GrantId",
    "GrantKind",
    "GrantState",
    "Handback",
    "HandbackId",
    "Intent",
    "IntentId",
    "Issuer",
    "IssuerName",
    "IssuerRule",
    "Offer",
    "OnReuse",
    "Owner",
    "Policy",
    "Presented",
    "Proof",
    "Provider",
    "ProviderName",
    "ProviderSecrets",
    "RefreshToken",
    "RefusalKind",
    "Revocation",
    "RevocationKind",
    "Rotation",
    "SealedColumn",
    "SealedRow",
    "Service",
    "ServiceAccountKey",
    "ServiceName",
    "SessionId",
    "SignatureAlgorithm",
    "StaticToken",
]
