"""What somebody brings to connect a service, as the provider's kind of grant wants it."""

from shared.model import ClientItself, GrantKind, Presented, RefreshToken, StaticToken
from shared.secret import Secret


def presented(kind: GrantKind, *, refresh_token: str | None, access_token: str | None = None) -> Presented:
    """The credential that makes a grant of this kind. Raises: ValueError, with a sentence for people."""
    match kind:
        case GrantKind.AUTHORIZATION_CODE if refresh_token and not access_token:
            return RefreshToken(value=Secret(refresh_token))
        case GrantKind.STATIC if token := access_token or refresh_token:
            return StaticToken(value=Secret(token))
        case GrantKind.CLIENT_CREDENTIALS | GrantKind.JWT_BEARER if not (refresh_token or access_token):
            return ClientItself()
        case _:
            raise ValueError(_WANTED[kind])


_WANTED = {
    GrantKind.AUTHORIZATION_CODE: "This provider's grants are refresh tokens: bring a `refresh_token` alone.",
    GrantKind.STATIC: "This provider's grants are static tokens: bring an `access_token`.",
    GrantKind.CLIENT_CREDENTIALS: "This provider's grants are the client's own registration: bring nothing.",
    GrantKind.JWT_BEARER: "This provider's grants are signed with its own key: bring nothing.",
}
