"""What applying declarations would change in a catalogue."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from dispenser.declared import Declarations
from shared.model import Agent, Catalogue, Issuer, Policy, Provider, Service

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
