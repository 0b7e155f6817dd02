"""To what a delegated vault token is limited, beyond what policies say."""

from dataclasses import dataclass
from typing import Any

from dispenser.policy import Query
from shared.model import Owner, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """None: to nothing in this respect."""

    services: frozenset[ServiceName] | None = None
    #: A token carries all scopes of its service, so these limit the services too.
    scopes: frozenset[str] | None = None
    owner: Owner | None = None

    def beyond(self, query: Query) -> str | None:
        """What of a question lies beyond it, in words."""
        if self.services is not None and query.service not in self.services:
            return "the service"
        if self.owner not in (None, query.owner):
            return "the owner"
        if self.scopes is not None and not query.scopes <= self.scopes:
            return "the scopes " + ", ".join(sorted(query.scopes - self.scopes))
        return None

    def narrowed(self, wanted: "Narrowing") -> "Narrowing | None":
        """What is left of it after another narrowing. None: that one asks for more than there is."""
        if (
            _wider(wanted.services, self.services)
            or _wider(wanted.scopes, self.scopes)
            or (self.owner is not None and wanted.owner not in (None, self.owner))
        ):
            return None
        return Narrowing(
            services=self.services if wanted.services is None else wanted.services,
            scopes=self.scopes if wanted.scopes is None else wanted.scopes,
            owner=wanted.owner or self.owner,
        )

    def claim(self) -> dict[str, Any]:
        """As a vault token says it; empty: it limits nothing."""
        said = {
            "services": None if self.services is None else sorted(self.services),
            "scopes": None if self.scopes is None else sorted(self.scopes),
            "owner": self.owner,
        }
        return {name: value for name, value in said.items() if value is not None}


#: Of a vault token that nobody has delegated.
UNLIMITED = Narrowing()


def from_claim(claim: object) -> Narrowing:
    """What `claim` made. Raises: ValueError, for a limit that is not understood must not be passed over."""
    if not isinstance(claim, dict) or not claim.keys() <= {"services", "scopes", "owner"}:
        raise ValueError("claims")
    owner = claim.get("owner")
    if not (owner is None or (isinstance(owner, str) and owner)):
        raise ValueError("claims")
    services = _texts(claim.get("services"))
    return Narrowing(
        services=None if services is None else frozenset(map(ServiceName, services)),
        scopes=_texts(claim.get("scopes")),
        owner=None if owner is None else Owner(owner),
    )


def _wider(wanted: frozenset[Any] | None, held: frozenset[Any] | None) -> bool:
    return wanted is not None and held is not None and not wanted <= held


def _texts(values: object) -> frozenset[str] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ValueError("claims")
    return frozenset(values)
