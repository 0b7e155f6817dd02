from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dispenser.testing.admin import Admin
from dispenser.testing.assertion import ALGORITHMS
from dispenser.testing.authority import JWT_BEARER
from dispenser.testing.authorization_endpoint import AuthorizationEndpoint
from dispenser.testing.client_endpoints import ClientEndpoints
from dispenser.testing.provider import Provider
from dispenser.testing.resource import Resource

_API_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_AUTH_METHODS = {
    "basic": "client_secret_basic",
    "body": "client_secret_post",
    "private_key_jwt": "private_key_jwt",
    "none": "none",
}


def application(provider: Provider) -> Starlette:
    """The provider's HTTP face."""
    authorization, clients = AuthorizationEndpoint(provider), ClientEndpoints(provider)
    admin = Admin(provider)

    async def metadata(_request: Request) -> Response:
        return JSONResponse(_metadata(provider))

    return Starlette(
        routes=[
            Route("/.well-known/oauth-authorization-server", metadata),
            Route("/authorize", authorization.ask),
            Route("/authorize", authorization.decide, methods=["POST"]),
            Route("/token", clients.token, methods=["POST"]),
            Route("/revoke", clients.revoke, methods=["POST"]),
            Route("/introspect", clients.introspect, methods=["POST"]),
            Route("/api/{path:path}", Resource(provider).call, methods=_API_METHODS),
            Route("/_emulator/requests", admin.requests),
            Route("/_emulator/faults", admin.queue_faults, methods=["POST"]),
            Route("/_emulator/faults", admin.clear_faults, methods=["DELETE"]),
            Route("/_emulator/refresh_tokens", admin.issue, methods=["POST"]),
            Route("/_emulator/revoke_all", admin.revoke_all, methods=["POST"]),
        ]
    )


def _metadata(provider: Provider) -> dict[str, object]:
    """RFC 8414 §2, with the promise of RFC 9207 §3."""
    issuer = provider.authority.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": provider.authority.token_url,
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", JWT_BEARER],
        "token_endpoint_auth_methods_supported": [_AUTH_METHODS[provider.behaviour.client_auth]],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
