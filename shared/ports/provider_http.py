from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.model import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a provider, ready to send."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: It may go to this very machine: the provider is declared `insecure_local`.
    local: bool = False
    #: Which client was given what it carries.
    client: Client | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A provider's answer, whole, at most 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class NotSent(Exception):
    """Nothing reached the provider (DNS, connect, TLS): asking again is safe."""


class NotAsked(NotSent):
    """Something is there that may not be asked. The message is for the operator."""


class AddressRefused(NotAsked):
    """The provider's name leads where no request may go."""


class Mistrusted(NotAsked):
    """The provider's certificate is not believed."""


class NoAnswer(Exception):
    """The request may have reached the provider and its answer is lost: asking again may not be safe."""


class Closed(NoAnswer):
    """The provider ended the connection without an answer: it is done with the request, whatever it did."""


class ProviderHttp(Protocol):
    """Talks to providers: no redirects, no retries, bounded answers."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises: NotSent, NoAnswer."""

    async def close(self) -> None: ...
