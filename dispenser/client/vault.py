"""The vault, as an agent sees it."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Self

from dispenser.client import door
from dispenser.client.asking import Asking
from dispenser.client.child import ChildToken
from dispenser.client.errors import Closed, InvalidRequest
from dispenser.client.holder import Holder
from dispenser.client.renewal import Renewal
from dispenser.client.tasks import Tasks
from dispenser.client.token import Token
from dispenser.client.transport import transport_for
from dispenser.protocol import DEFAULT_DEADLINE_SECONDS, ChildCall, TokenCall

if TYPE_CHECKING:
    import ssl

    import httpx
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Vault:
    """Hands out access tokens: `async with Vault() as vault: token = await vault.token("time-tracker")`.

    VAULT_URL and VAULT_AGENT_TOKEN say where and as whom, unless `url` and `token` do; VAULT_AGENT_KEY or
    `key` is the file of the private key that the vault token is bound to, where it is; VAULT_CA_FILE that of
    the certificate authority that vouches for the vault, where the machine's own do not. Calls for the same
    token are joined, calls made in the same tick travel together, and tokens are held in memory while they
    have life left.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, key: str | os.PathLike[str] | None = None
    ) -> None:
        """Raises: Misconfigured, naming everything that is missing or wrong."""
        self._door = replace(
            door.configured(url, token, os.environ, _key(key or os.environ.get("VAULT_AGENT_KEY"))),
            authority=_authority(os.environ.get("VAULT_CA_FILE")),
        )
        self._holder: Holder | None = None
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Does not wait for a connection: calls do, until their deadline."""
        transport = transport_for(self._door)
        async with AsyncExitStack() as stack:
            await transport.open()
            stack.push_async_callback(transport.close)
            tasks = Tasks()
            stack.push_async_callback(tasks.cancel)
            renewal = Renewal(transport, self._door.credential)
            tasks.start(renewal.run())
            self._holder = Holder(Asking(transport, renewal), tasks)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Ends calls that still wait with Closed."""
        self._holder = None
        await self._closing.aclose()

    async def token(
        self,
        service: str,
        *,
        owner: str | None = None,
        min_ttl: float | None = None,
        scopes: Iterable[str] | None = None,
        purpose: str = "",
        deadline: float = DEFAULT_DEADLINE_SECONDS,
    ) -> Token:
        """An access token that lives `min_ttl` seconds or more (None: a fifth of its life, at most a minute).

        `owner` None is the owner in the vault token; `scopes` must be among those granted; `purpose` is for
        the audit. Raises: VaultError, one of its kinds, within `deadline` seconds.
        """
        call = TokenCall(
            service=service, owner=owner, min_ttl=min_ttl, scopes=_scopes(scopes), purpose=purpose
        )
        return await self._opened().token(call, deadline=_now() + deadline)

    async def rejected(self, token: Token, *, deadline: float = DEFAULT_DEADLINE_SECONDS) -> None:
        """The API answered 401 to this token: the vault refreshes it, once however many report it.

        Raises: VaultError, one of its kinds, within `deadline` seconds.
        """
        await self._opened().rejected(token, deadline=_now() + deadline)

    async def child(
        self,
        *,
        services: Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        owner: str | None = None,
        actor: str | None = None,
        ttl: float | None = None,
        key: Mapping[str, str] | None = None,
        deadline: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ChildToken:
        """A vault token for a sub-agent, with no more rights than this one's and no longer a life.

        It is for `services`, for those with no other scopes than `scopes`, for one `owner`, for `ttl`
        seconds; what is None stays as it is. `actor`, an agent, acts with it, as far as its own policies
        allow that too. `key`, a public JWK, is what it is bound to; None: this vault token's own key. It is
        revoked with this vault token's session.

        Raises: Denied where it would be wider; VaultError, one of its kinds, within `deadline` seconds.
        """
        call = ChildCall(
            services=_named("services", services),
            scopes=_named("scopes", scopes),
            owner=owner,
            actor=actor,
            ttl=ttl,
            key=None if key is None else _thumbprint(key),
        )
        if call == ChildCall(key=call.key):
            raise InvalidRequest("Say how it is narrower: by services, scopes, owner, actor or ttl.")
        return await self._opened().child(call, deadline=_now() + deadline)

    def auth(
        self,
        service: str,
        *,
        owner: str | None = None,
        min_ttl: float | None = None,
        scopes: Iterable[str] | None = None,
        purpose: str = "",
    ) -> "httpx.Auth":
        """For `httpx.AsyncClient(auth=...)`: sends the service's token, and on 401 again with a fresh one."""
        from dispenser.client.auth import VaultAuth  # noqa: PLC0415 - loads httpx

        current = partial(
            self.token, service, owner=owner, min_ttl=min_ttl, scopes=_scopes(scopes), purpose=purpose
        )
        return VaultAuth(current, self.rejected)

    def _opened(self) -> Holder:
        if self._holder is None:
            raise Closed(str(Closed.__doc__))
        return self._holder


def _key(file: str | os.PathLike[str] | None) -> "Ed25519PrivateKey | None":
    if not file:
        return None
    from dispenser.client import key_file  # noqa: PLC0415 - loads cryptography

    return key_file.read(file)


def _authority(file: str | None) -> "ssl.SSLContext | None":
    if not file:
        return None
    from dispenser.client import certificate  # noqa: PLC0415 - loads ssl

    return certificate.authority(file)


def _thumbprint(jwk: Mapping[str, str]) -> str:
    from dispenser.agent_key import from_jwk, thumbprint  # noqa: PLC0415 - loads cryptography

    try:
        return thumbprint(from_jwk(jwk))
    except ValueError as error:
        raise InvalidRequest(f"key: {error}.") from None


def _named(what: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    """None is all there are, so an empty list must not pass for it."""
    if names is None:
        return None
    found = tuple(names.split() if isinstance(names, str) else names)
    if not found:
        raise InvalidRequest(f"{what}: none at all leaves a vault token that is good for nothing.")
    return found


def _scopes(scopes: Iterable[str] | None) -> tuple[str, ...] | None:
    """A text is a list as OAuth writes it: with spaces (RFC 6749 §3.3)."""
    return tuple(scopes.split() if isinstance(scopes, str) else scopes or ()) or None


def _now() -> float:
    return asyncio.get_running_loop().time()
