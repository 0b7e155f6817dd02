"""What applying declarations would change in a catalogue."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from dispenser.declared import Declarations
from shared.model import Agent, Catalogue, Issuer, Policy, Provider, ProviderName, Service, ServiceName

Entry = Provider | Service | Agent | Policy | Issuer


class Kind(StrEnum):
    """What can be declared."""

    PROVIDER = "provider"
    SERVICE = "service"
    AGENT = "agent"
    POLICY = "policy"
    ISSUER = "issuer"


class Action(StrEnum):
    """What applying does to an entry. Nothing is ever removed."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry's part of a difference."""

    kind: Kind
    name: str
    action: Action
    #: Which fields differ from the catalogue's; empty unless changed.
    fields: tuple[str, ...] = ()
    #: The files name a secret, which is sealed with every apply: whether it is another one nobody can tell.
    sealed_anew: bool = False

    def __str__(self) -> str:
        differing = f" ({', '.join(self.fields)})" if self.fields else ""
        sealed = ", secret sealed anew" if self.sealed_anew else ""
        return f"{self.kind} {self.name}: {self.action}{differing}{sealed}"


def difference(catalogue: Catalogue, declarations: Declarations) -> tuple[Change, ...]:
    """A change for every declared entry, the unchanged ones too, in the files' order."""
    policies = {policy.name: policy for policy in catalogue.policies}
    return (
        *_changes(Kind.PROVIDER, catalogue.providers, declarations.providers, sealed=declarations.secrets),
        *_changes(Kind.SERVICE, catalogue.services, declarations.services),
        *_changes(Kind.AGENT, catalogue.agents, declarations.agents),
        *_changes(Kind.POLICY, policies, declarations.policies),
        *_changes(Kind.ISSUER, catalogue.issuers, declarations.issuers),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A service whose grants were given to another client than the one it is to have."""

    service: ServiceName
    provider: ProviderName
    #: Who is to ask for its tokens, or where, is another; otherwise only where they are given back.
    asks: bool

    def warning(self, grants: int) -> str:
        """For people, where the service has so many. Which client each was given to, refreshers alone can
        read."""
        whose = f"service {self.service} has {grants} grants: those given to another client than this"
        if not self.asks:
            return f"{whose} are not given back at this revocation_url when they are revoked."
        return (
            f"{whose} are not refreshed until that one is declared again, or their owners connect again. "
            f"`dispenser revoke provider {self.provider}` has agents tell them so."
        )


def moves(catalogue: Catalogue, declarations: Declarations) -> tuple[Move, ...]:
    """The services whose grants would be left behind: what a client was given goes to no other."""
    providers = {**catalogue.providers, **{each.name: each for each in declarations.providers}}
    services = {**catalogue.services, **{each.name: each for each in declarations.services}}
    return tuple(
        Move(service=name, provider=after.name, asks=before.client.asks != after.client.asks)
        for name, service in catalogue.services.items()
        if (before := catalogue.providers[service.provider]).client
        != (after := providers[services[name].provider]).client
    )


def _changes(
    kind: Kind,
    present: Mapping[Any, Entry],
    declared: Sequence[Entry],
    sealed: Collection[str] = (),
) -> Iterator[Change]:
    for entry in declared:
        differing = _differing(present.get(entry.name), entry)
        action = Action.ADDED if entry.name not in present else Action.UNCHANGED
        yield Change(
            kind=kind,
            name=entry.name,
            action=Action.CHANGED if differing else action,
            fields=differing,
            sealed_anew=entry.name in sealed,
        )


def _differing(present: Entry | None, declared: Entry) -> tuple[str, ...]:
    """`revoked_at` is no matter of files: applying keeps it."""
    if present is None:
        return ()
    names = (field.name for field in fields(declared) if field.name != "revoked_at")
    return tuple(name for name in names if getattr(present, name) != getattr(declared, name))
