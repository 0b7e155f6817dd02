from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dispenser.testing.journal import ApiCall
from dispenser.testing.provider import Provider
from dispenser.testing.tokens import AccessToken, fingerprint


class Resource:
    """The API that the access tokens open."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def call(self, request: Request) -> Response:
        """200 with an echo for a live token of the path's scope; else 401 or 403 (RFC 6750 §3.1)."""
        path = request.path_params["path"]
        value = _bearer(request.headers.get("authorization", ""))
        token = self._provider.authority.tokens.access(value)
        response = self._answer(path, token, (await request.body()).decode(errors="replace"))
        call = ApiCall(
            at=self._provider.authority.clock(),
            method=request.method,
            path=path,
            status=response.status_code,
            owner=token.family.owner if token else "",
            access_token=fingerprint(value) if value else "",
        )
        self._provider.journal.api_calls.append(call)
        return response

    def _answer(self, path: str, token: AccessToken | None, body: str) -> Response:
        if token is None or not token.live(self._provider.authority.clock()):
            return _refused(401, "invalid_token")
        scope = self._provider.api_scopes.get(path.partition("/")[0])
        if scope is not None and scope not in token.scopes:
            return _refused(403, "insufficient_scope")
        owner, scopes = token.family.owner, list(token.scopes)
        return JSONResponse({"path": path, "owner": owner, "scopes": scopes, "body": body})


def _bearer(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _refused(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status, {"WWW-Authenticate": f'Bearer error="{code}"'})
