from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dispenser.testing.codes import Consent
from dispenser.testing.provider import Provider
from dispenser.testing.refusal import Refusal

_PAGE = """<!doctype html><title>Consent</title>
<h1>{client} asks for</h1>
<form method="post">
{scopes}
<p><label>Account <input name="owner" value="{owner}"></label></p>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
"""
_SCOPE = '<p><label><input type="checkbox" name="scope" value="{0}" checked> {0}</label></p>'


class AuthorizationEndpoint:
    """Where an owner consents (RFC 6749 §3.1): at once, or on a page."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def ask(self, request: Request) -> Response:
        """A page where the provider shows one; otherwise the owner of `login_hint` consents at once."""
        query = request.query_params
        if mistake := self._misdirected(query):
            return mistake
        owner = query.get("login_hint", self._provider.default_owner)
        scopes = tuple(query.get("scope", "").split())
        if self._provider.behaviour.consent_page and _complaint(query) is None:
            return HTMLResponse(_page(query["client_id"], owner, scopes))
        return self._redirected(query, owner, scopes)

    async def decide(self, request: Request) -> Response:
        """What the owner chose on the page."""
        query = request.query_params
        if mistake := self._misdirected(query):
            return mistake
        chosen = parse_qs((await request.body()).decode())
        if chosen.get("decision") != ["allow"]:
            refusal = Refusal("access_denied", "The owner did not consent.")
            return self._back(query, {"error": refusal.code, "error_description": refusal.description})
        owner = chosen.get("owner", [self._provider.default_owner])[0]
        return self._redirected(query, owner, tuple(chosen.get("scope", ())))

    def _misdirected(self, query: Mapping[str, str]) -> Response | None:
        """A page, never a redirect, where the client or its address is wrong (RFC 6749 §4.1.2.1)."""
        client = self._provider.authority.clients.get(query.get("client_id", ""))
        if client is None or not client.redirects_to(query.get("redirect_uri", "")):
            return HTMLResponse("<h1>Unknown client or redirect URI</h1>", status_code=400)
        return None

    def _redirected(self, query: Mapping[str, str], owner: str, scopes: tuple[str, ...]) -> Response:
        if refusal := _complaint(query):
            return self._back(query, {"error": refusal.code, "error_description": refusal.description})
        withheld = self._provider.behaviour.withheld_scopes
        consent = Consent(
            client_id=query["client_id"],
            redirect_uri=query["redirect_uri"],
            owner=owner,
            scopes=tuple(scope for scope in scopes if scope not in withheld),
            challenge=query["code_challenge"],
            given_at=self._provider.authority.clock(),
        )
        return self._back(query, {"code": self._provider.authority.codes.issue(consent)})

    def _back(self, query: Mapping[str, str], answer: Mapping[str, str]) -> Response:
        """To the client, with `state` as it came and our `iss` (RFC 9207 §2)."""
        state = {"state": query["state"]} if "state" in query else {}
        parameters = urlencode({**answer, **state, "iss": self._provider.authority.issuer})
        separator = "&" if urlsplit(query["redirect_uri"]).query else "?"
        return RedirectResponse(f"{query['redirect_uri']}{separator}{parameters}", status_code=302)


def _complaint(query: Mapping[str, str]) -> Refusal | None:
    """What is wrong with a request whose client and address are right."""
    if query.get("response_type") != "code":
        return Refusal("unsupported_response_type", "Only `code` is supported.")
    if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
        return Refusal("invalid_request", "PKCE with S256 is required (RFC 7636 §4.3).")
    return None


def _page(client: str, owner: str, scopes: tuple[str, ...]) -> str:
    boxes = "\n".join(_SCOPE.format(escape(scope)) for scope in scopes)
    return _PAGE.format(client=escape(client), owner=escape(owner), scopes=boxes)
