"""What an answer to nobody's credential says: a provider looks at the client before it looks at the grant."""

import json
from typing import Any

import pytest
from builders import KEYS, NOW, a_provider

from shared.envelope import seal_provider_secrets
from shared.model import ClientAuth, GrantKind, Provider, ProviderSecrets, RefusalKind
from shared.ports import AddressRefused, HttpRequest, HttpResponse, Mistrusted, NoAnswer, NotAsked, NotSent
from shared.secret import Secret
from workers.outcome import NOT_SENT, Issued, Outcome, Refused
from workers.probe import NOBODYS_TOKEN, Finding, finding, probe

ISSUED = Issued(
    access_token=Secret("at-CANARY"),
    token_type="Bearer",
    expires_in_seconds=60,
    scopes=None,
    refresh_token=Secret("rt-CANARY"),
)


def refused(kind: RefusalKind, code: str) -> Refused:
    return Refused(kind=kind, code=code)


@pytest.mark.parametrize(
    ("outcome", "reachable", "client_known", "says"),
    [
        (NOT_SENT, False, False, "does not answer"),
        (
            refused(RefusalKind.CLIENT_CONFIG, "invalid_client"),
            True,
            False,
            "refuses the client (invalid_client)",
        ),
        (refused(RefusalKind.DEAD, "invalid_grant"), True, True, "knows the client"),
        (ISSUED, True, True, "knows the client"),
        (refused(RefusalKind.TRANSIENT, "http_503"), True, False, "answers http_503"),
        (refused(RefusalKind.RATE_LIMITED, "http_429"), True, False, "answers http_429"),
        (refused(RefusalKind.AMBIGUOUS, "http_200"), True, False, "answers http_200"),
    ],
)
def test_an_outcome_is_read(outcome: Outcome, reachable: bool, client_known: bool, says: str) -> None:
    found = finding(a_provider(), outcome)
    assert (found.reachable, found.client_known) == (reachable, client_known)
    assert found.says.startswith("strict: ")
    assert says in found.says


@pytest.mark.parametrize("kind", RefusalKind)
def test_every_kind_of_refusal_says_something(kind: RefusalKind) -> None:
    assert finding(a_provider(), refused(kind, "code")).says.endswith(".")


def test_no_token_shows_in_what_is_said() -> None:
    assert "CANARY" not in repr(finding(a_provider(), ISSUED))


class TokenEndpoint:
    """Answers every request alike, and keeps it."""

    def __init__(self, status: int = 200, error: str = "", failure: Exception | None = None) -> None:
        self.requests: list[HttpRequest] = []
        self._status, self._error, self._failure = status, error, failure

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if self._failure is not None:
            raise self._failure
        body = json.dumps({"error": self._error}).encode()
        return HttpResponse(status=self._status, headers={"content-type": "application/json"}, body=body)

    async def close(self) -> None:
        """Nothing is open."""


async def probed(endpoint: TokenEndpoint, **changes: Any) -> Finding:
    provider: Provider = a_provider(**changes)
    secrets = seal_provider_secrets(KEYS, provider, ProviderSecrets(client_secrets=(Secret("secret"),)))
    return await probe(endpoint, KEYS, provider, secrets, clock=lambda: NOW, jti="jti-1")


@pytest.mark.parametrize(
    ("status", "error", "client_known"),
    [(400, "invalid_grant", True), (401, "invalid_client", False), (503, "", False)],
)
async def test_an_answer_is_read(status: int, error: str, client_known: bool) -> None:
    found = await probed(TokenEndpoint(status, error))
    assert (found.reachable, found.client_known) == (True, client_known)


@pytest.mark.parametrize("failure", [NotSent("dns"), NoAnswer("timeout")])
async def test_no_answer_says_nothing_of_the_client(failure: Exception) -> None:
    found = await probed(TokenEndpoint(failure=failure))
    assert (found.reachable, found.client_known) == (False, False)


@pytest.mark.parametrize("failure", [AddressRefused("it leads inside."), Mistrusted("it is not theirs.")])
async def test_why_a_provider_may_not_be_asked_is_said(failure: NotAsked) -> None:
    found = await probed(TokenEndpoint(failure=failure))
    assert (found.reachable, found.client_known) == (False, False)
    assert str(failure) in found.says


async def test_nothing_is_redeemed_but_what_nobody_ever_had() -> None:
    endpoint = TokenEndpoint(400, "invalid_grant")
    await probed(endpoint, client_auth=ClientAuth.BASIC)
    [request] = endpoint.requests
    assert request.url == "https://id.example/token"
    assert f"refresh_token={NOBODYS_TOKEN}".encode() in request.body


async def test_of_a_static_token_there_is_nobody_to_ask() -> None:
    endpoint = TokenEndpoint()
    found = await probed(endpoint, grant=GrantKind.STATIC)
    assert (found.reachable, found.client_known, endpoint.requests) == (True, True, [])
