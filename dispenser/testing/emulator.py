import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from dispenser.testing.application import application
from dispenser.testing.authority import Authority
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.clients import Client
from dispenser.testing.faults import Faults
from dispenser.testing.journal import ApiCall, Received
from dispenser.testing.provider import Provider
from dispenser.testing.server import Server


class Emulator:
    """An OAuth 2.0 provider and its API on a real loopback port of this process.

    ```python
    async with Emulator(Behaviour(grace_seconds=30)) as provider:
        provider.faults.next(Status(503), ResetAfterProcessing())
        ...
        assert provider.reuses == 0
    ```

    It runs in a thread of its own, so `with` does as well as `async with`, and every member may be used
    from any thread. Times are in seconds."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        port: int = 0,
        client_id: str = "emulated-client",
        client_secret: str | None = None,
        default_owner: str = "owner",
        api_scopes: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`api_scopes`: which scope `/api/<first segment>` asks for. `clock`: seconds since the epoch."""
        self.client_secret = client_secret or secrets.token_urlsafe(24)
        self._port = port
        self._server: Server | None = None
        self._authority = Authority(clock)
        self._provider = Provider(
            authority=self._authority,
            behaviour=behaviour or Behaviour(),
            client_id=client_id,
            default_owner=default_owner,
            api_scopes=api_scopes or {},
        )
        self.register_client(client_id, self.client_secret)

    def start(self) -> Self:
        """Listen. A client that comes at once is served."""
        self._server = Server(application(self._provider), self._port)
        self._authority.issuer = self._server.url
        return self

    def stop(self) -> None:
        """Close the port; requests that hang are released first."""
        self.faults.clear()
        if self._server:
            self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def client_id(self) -> str:
        """The client that is registered from the start, with `client_secret`."""
        return self._provider.client_id

    @property
    def issuer(self) -> str:
        return self._authority.issuer

    @property
    def authorization_url(self) -> str:
        return f"{self.issuer}/authorize"

    @property
    def token_url(self) -> str:
        return self._authority.token_url

    @property
    def revocation_url(self) -> str:
        return f"{self.issuer}/revoke"

    @property
    def introspection_url(self) -> str:
        return f"{self.issuer}/introspect"

    @property
    def api_url(self) -> str:
        return f"{self.issuer}/api"

    @property
    def behaviour(self) -> Behaviour:
        """May be replaced while the emulator runs."""
        return self._provider.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._provider.behaviour = behaviour

    @property
    def faults(self) -> Faults:
        """What the next token requests will meet."""
        return self._provider.faults

    @property
    def requests(self) -> tuple[Received, ...]:
        """What reached the token, revocation and introspection endpoints, in order."""
        return tuple(self._provider.journal.received)

    @property
    def api_calls(self) -> tuple[ApiCall, ...]:
        """What reached the API, in order."""
        return tuple(self._provider.journal.api_calls)

    @property
    def token_calls(self) -> int:
        """Requests to the token endpoint."""
        return self._provider.journal.token_calls

    @property
    def refreshes(self) -> int:
        """Token requests that presented a refresh token."""
        return self._provider.journal.refreshes

    @property
    def reuses(self) -> int:
        """Refreshes refused because their token was spent before."""
        return self._provider.journal.reuses

    @property
    def overlaps(self) -> int:
        """Refreshes that came in while another with the same token was under way."""
        return self._provider.journal.overlaps

    @property
    def most_at_once(self) -> int:
        """Token requests that were under way at the same time, at most."""
        return self._provider.journal.most_at_once

    @property
    def most_in_a_second(self) -> int:
        """Token requests that came in within one second of the clock, at most."""
        return self._provider.journal.most_in_a_second

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many requests came to which outcome, as `Received.outcome` names them."""
        return self._provider.journal.outcomes

    def register_client(
        self,
        client_id: str,
        client_secret: str = "",
        *,
        redirect_uris: tuple[str, ...] = (),
        public_key: str | None = None,
    ) -> None:
        """Another client, or a new secret for one. `public_key`: PEM; no `redirect_uris`: any on loopback."""
        client = Client(
            client_id=client_id,
            client_secret=client_secret,
            redirect_uris=redirect_uris,
            public_key=public_key,
        )
        self._authority.clients.register(client)

    def register_service_account(self, name: str, public_key: str) -> None:
        """Assertions that `name` issues and signs with its private key get access tokens (RFC 7523)."""
        self._authority.service_accounts[name] = public_key

    def issue_refresh_token(
        self, owner: str, scopes: tuple[str, ...] = (), client_id: str | None = None
    ) -> str:
        """A refresh token as if `owner` had consented just now."""
        return self._authority.consented(owner, scopes, client_id or self.client_id, self.behaviour).value

    def revoke_family(self, refresh_token: str) -> None:
        """The owner takes the consent back: every token that comes from it dies. Raises: KeyError."""
        self._authority.tokens.family_of(refresh_token).revoked = True

    def revoke_access_tokens(self) -> None:
        """The API refuses every access token issued so far; refresh tokens live on."""
        self._authority.tokens.revoke_access_tokens()

    def revoke_all(self) -> None:
        """Every token issued so far dies."""
        self._authority.tokens.revoke_all()
