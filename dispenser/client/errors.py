"""How a call to the vault can fail, one class per outcome. No token ever enters a message."""

from typing import ClassVar

from dispenser.protocol import Code, Reply


class VaultError(Exception):
    """The root of everything the vault's client raises on purpose."""

    #: Stable, for programs; the wire protocol's where it has one.
    code: ClassVar[str] = "vault_error"
    #: The same call may succeed later without anybody's help.
    retryable: ClassVar[bool] = False


class Misconfigured(VaultError):
    """Something the client was given is missing or wrong. The message names every mistake."""

    code = "configuration"


class Closed(VaultError):
    """The vault is not open. Call it inside `async with Vault() as vault:`."""

    code = "closed"


class VaultUnreachable(VaultError):
    """No connection to the vault within the deadline. Check VAULT_URL and that the vault is up."""

    code = "unreachable"
    retryable = True


class Unroutable(VaultUnreachable):
    """The broker has no dispenser queue: was `dispenser init` run against it?"""

    code = "unroutable"
    retryable = False


class Unauthenticated(VaultError):
    """The vault token is missing, foreign, expired or revoked. Get one with `dispenser agent token`."""

    code = Code.UNAUTHENTICATED.value


class Denied(VaultError):
    """No policy allows this agent that token. See `dispenser policy explain`."""

    code = Code.DENIED.value


class NotFound(VaultError):
    """The vault has no such service or grant. See `dispenser service list`."""

    code = Code.NOT_FOUND.value


class InvalidRequest(VaultError):
    """The request itself is wrong: repeating it will not help."""

    code = Code.INVALID_REQUEST.value


class TtlUnavailable(VaultError):
    """No token with that much life can be had. Ask with a smaller `min_ttl`."""

    code = Code.TTL_UNAVAILABLE.value


class DeadlineExceeded(VaultError):
    """No answer within the deadline. Ask again, or with a longer `deadline`."""

    code = Code.DEADLINE_EXCEEDED.value
    retryable = True


class ReauthorizationRequired(VaultError):
    """The owner has to give consent again, at `connect_url`."""

    code = Code.REAUTH_REQUIRED.value

    def __init__(self, message: str, *, connect_url: str | None = None) -> None:
        super().__init__(message)
        self.connect_url = connect_url


class InsufficientScope(VaultError):
    """The owner has not granted `missing_scopes`; consent is asked for at `connect_url`."""

    code = Code.INSUFFICIENT_SCOPE.value

    def __init__(
        self, message: str, *, missing_scopes: tuple[str, ...] = (), connect_url: str | None = None
    ) -> None:
        super().__init__(message)
        self.missing_scopes = missing_scopes
        self.connect_url = connect_url


class _Later(VaultError):
    """Worth asking again, after `retry_after` seconds where the vault names them."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(_Later):
    """Asked too often. Wait `retry_after` seconds."""

    code = Code.RATE_LIMITED.value


class ProviderDown(_Later):
    """The provider does not answer, and no token with life left is at hand."""

    code = Code.PROVIDER_DOWN.value


class Overloaded(_Later):
    """The vault has more requests than it can answer."""

    code = Code.OVERLOADED.value


_PLAIN: dict[Code, type[VaultError]] = {
    Code.DENIED: Denied,
    Code.NOT_FOUND: NotFound,
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.INVALID_REQUEST: InvalidRequest,
    Code.TTL_UNAVAILABLE: TtlUnavailable,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
}
_LATER: dict[Code, type[_Later]] = {
    Code.RATE_LIMITED: RateLimited,
    Code.PROVIDER_DOWN: ProviderDown,
    Code.OVERLOADED: Overloaded,
}


def refusal(reply: Reply) -> VaultError:
    """The error that a reply other than `ok` stands for."""
    code = reply.code
    if code is Code.REAUTH_REQUIRED:
        message = _message(reply, ReauthorizationRequired)
        return ReauthorizationRequired(message, connect_url=reply.connect_url)
    if code is Code.INSUFFICIENT_SCOPE:
        return InsufficientScope(
            _message(reply, InsufficientScope),
            missing_scopes=reply.missing_scopes,
            connect_url=reply.connect_url,
        )
    if code in _LATER:
        return _LATER[code](_message(reply, _LATER[code]), retry_after=reply.retry_after)
    return _PLAIN[code](_message(reply, _PLAIN[code]))


def _message(reply: Reply, kind: type[VaultError]) -> str:
    reason = reply.reason or str(kind.__doc__)
    # Not the `connect_url`: messages are logged, and the ticket in it opens a consent.
    return f"{reply.service}: {reason}" if reply.service else reason
