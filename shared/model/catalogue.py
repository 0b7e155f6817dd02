from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.model.agent import Agent
from shared.model.issuer import Issuer
from shared.model.names import AgentName, IssuerName, ProviderName, ServiceName
from shared.model.policy import Policy
from shared.model.provider import Provider, Service


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
