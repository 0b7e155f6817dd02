import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import import_key

from dispenser.testing import Behaviour, Emulator
from dispenser.testing.codes import challenge_of
from dispenser.testing.faults import (
    DropRefreshToken,
    Empty,
    ErrorAnswer,
    ErrorIn200,
    FormEncoded,
    Hang,
    Html,
    InvalidClient,
    RateLimited,
    ResetAfterProcessing,
    ResetBefore,
    Status,
    Truncated,
)

VERIFIER = "a-verifier-of-the-length-that-rfc-7636-asks-for"
CALLBACK = "http://127.0.0.1:8765/callback"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """An OAuth client in a few lines, without a vault."""

    def __init__(self, provider: Emulator, http: httpx.AsyncClient) -> None:
        self.provider = provider
        self.http = http

    @property
    def auth(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self.provider.client_id, self.provider.client_secret)

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post(self.provider.token_url, data=form, auth=self.auth)

    async def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **form)

    async def authorize(self, **changes: str) -> dict[str, str]:
        """What the callback would receive."""
        query = authorization_query(self) | changes
        answer = await self.http.get(self.provider.authorization_url, params=query)
        return callback_of(answer)

    async def redeem(self, code: str, **changes: str) -> httpx.Response:
        form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.token(grant_type="authorization_code", **form | changes)

    async def call(self, access_token: str, path: str = "anything") -> int:
        headers = {"Authorization": f"Bearer {access_token}"}
        return (await self.http.get(f"{self.provider.api_url}/{path}", headers=headers)).status_code

    async def introspect(self, token: str) -> dict[str, Any]:
        answer = await self.http.post(self.provider.introspection_url, data={"token": token}, auth=self.auth)
        return answer.json()


def authorization_query(client: Client) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": client.provider.client_id,
        "redirect_uri": CALLBACK,
        "scope": "tasks:write chat:write",
        "state": "st",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }


def callback_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(CALLBACK)
    return {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider(clock: Clock) -> AsyncIterator[Emulator]:
    async with Emulator(clock=clock, api_scopes={"tasks": "tasks:write"}) as emulator:
        yield emulator


@pytest.fixture
async def client(provider: Emulator) -> AsyncIterator[Client]:
    async with httpx.AsyncClient() as http:
        yield Client(provider, http)


async def test_a_code_buys_tokens_and_the_callback_names_the_issuer(client: Client) -> None:
    callback = await client.authorize(login_hint="ada")
    assert callback["state"] == "st"
    assert callback["iss"] == client.provider.issuer
    granted = (await client.redeem(callback["code"])).json()
    assert granted["token_type"] == "Bearer"
    assert granted["expires_in"] == 3600
    assert granted["scope"] == "tasks:write chat:write"
    assert (await client.introspect(granted["access_token"]))["sub"] == "ada"
    assert await client.call(granted["access_token"], "tasks/1") == 200


async def test_a_code_used_twice_kills_its_tokens(client: Client) -> None:
    code = (await client.authorize())["code"]
    granted = (await client.redeem(code)).json()
    assert (await client.redeem(code)).json()["error"] == "invalid_grant"
    assert await client.call(granted["access_token"]) == 401
    assert (await client.refresh(granted["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "changes", [{"code_verifier": "another"}, {"redirect_uri": "http://127.0.0.1/other"}, {"code": "none"}]
)
async def test_a_code_is_worth_nothing_in_other_hands(client: Client, changes: dict[str, str]) -> None:
    code = (await client.authorize())["code"]
    answer = await client.redeem(**{"code": code} | changes)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_code_expires(client: Client, clock: Clock) -> None:
    code = (await client.authorize())["code"]
    clock.now += 60
    assert (await client.redeem(code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
async def test_a_wrong_authorization_request_is_answered_to_the_client(
    client: Client, changes: dict[str, str], error: str
) -> None:
    callback = await client.authorize(**changes)
    assert (callback["error"], callback["state"]) == (error, "st")
    assert callback["iss"] == client.provider.issuer


async def test_an_unknown_redirect_is_never_followed(client: Client) -> None:
    query = {"client_id": client.provider.client_id, "redirect_uri": "https://elsewhere.example/"}
    answer = await client.http.get(client.provider.authorization_url, params=query)
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def granted(client: Client, *scopes: str) -> dict[str, Any]:
    """The tokens of a first refresh: `spent` is the refresh token that it cost."""
    spent = client.provider.issue_refresh_token("ada", scopes)
    return (await client.refresh(spent)).json() | {"spent": spent}


async def test_a_refresh_spends_its_token_and_answers_with_the_next(client: Client) -> None:
    first = await granted(client)
    assert first["refresh_token"] != first["spent"]
    second = (await client.refresh(first["refresh_token"])).json()
    assert second["access_token"] != first["access_token"]
    assert client.provider.reuses == 0


async def test_reuse_of_a_spent_token_kills_the_whole_family(client: Client) -> None:
    first = await granted(client)
    answer = await client.refresh(first["spent"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert await client.call(first["access_token"]) == 401
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert [record.outcome for record in client.provider.requests] == ["issued", "reused", "invalid_grant"]
    assert client.provider.reuses == 1


async def test_another_familys_reuse_harms_nobody(client: Client) -> None:
    first, other = await granted(client), await granted(client)
    await client.refresh(first["spent"])
    assert await client.call(other["access_token"]) == 200


async def test_a_provider_that_only_denies_leaves_the_family_alive(client: Client) -> None:
    client.provider.behaviour = Behaviour(on_reuse="deny")
    first = await granted(client)
    assert (await client.refresh(first["spent"])).json()["error"] == "invalid_grant"
    assert await client.call(first["access_token"]) == 200
    assert (await client.refresh(first["refresh_token"])).status_code == 200


async def test_within_the_grace_a_spent_token_gets_new_tokens(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30)
    first = await granted(client)
    clock.now += 29
    again = (await client.refresh(first["spent"])).json()
    assert again["refresh_token"] not in (first["refresh_token"], first["spent"])
    assert client.provider.requests[-1].outcome == "replayed"
    assert await client.call(first["access_token"]) == await client.call(again["access_token"]) == 200


async def test_within_the_grace_a_provider_may_repeat_its_answer(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30, replay="same")
    first = await granted(client)
    clock.now += 10
    again = (await client.refresh(first["spent"])).json()
    assert (again["access_token"], again["refresh_token"]) == (first["access_token"], first["refresh_token"])
    assert again["expires_in"] == 3590


async def test_after_the_grace_reuse_counts(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30)
    first = await granted(client)
    clock.now += 30
    assert (await client.refresh(first["spent"])).json()["error"] == "invalid_grant"
    assert await client.call(first["access_token"]) == 401


async def test_a_clients_tokens_are_worth_nothing_to_another(client: Client) -> None:
    provider = client.provider
    provider.register_client("another", "its-secret")
    token = provider.issue_refresh_token("ada", client_id="another")
    assert (await client.refresh(token)).json()["error"] == "invalid_grant"
    revocation = await client.http.post(provider.revocation_url, data={"token": token}, auth=client.auth)
    assert revocation.status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": token}
    own = await client.http.post(provider.token_url, data=form, auth=("another", "its-secret"))
    assert own.status_code == 200


async def test_without_rotation_the_token_is_sent_again_and_stays(client: Client) -> None:
    client.provider.behaviour = Behaviour(rotates=False)
    first = await granted(client)
    assert first["refresh_token"] == first["spent"]
    assert (await client.refresh(first["spent"])).status_code == 200


async def test_a_refresh_without_refresh_token_leaves_the_old_one_alive(client: Client) -> None:
    client.provider.behaviour = Behaviour(omit_refresh_token=True)
    first = await granted(client)
    assert "refresh_token" not in first
    assert (await client.refresh(first["spent"])).status_code == 200


async def test_an_access_token_ends_with_its_seconds(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(access_token_seconds=60)
    token = (await granted(client))["access_token"]
    clock.now += 59
    assert await client.call(token) == 200
    clock.now += 1
    assert await client.call(token) == 401
    assert await client.introspect(token) == {"active": False}


@pytest.mark.parametrize(
    ("how", "sent"), [("seconds", 3600), ("milliseconds", 3_600_000), ("text", "3600"), ("omitted", None)]
)
async def test_expiry_is_sent_as_providers_do(client: Client, how: Any, sent: object) -> None:
    client.provider.behaviour = Behaviour(expires_in=how)
    assert (await granted(client)).get("expires_in") == sent


async def test_a_refresh_may_ask_for_fewer_scopes_and_never_for_more(client: Client) -> None:
    token = (await granted(client, "a", "b"))["refresh_token"]
    fewer = (await client.refresh(token, scope="a")).json()
    assert fewer["scope"] == "a"
    more = await client.refresh(fewer["refresh_token"], scope="a b c")
    assert more.json()["error"] == "invalid_scope"


async def test_a_provider_may_refuse_scope_in_a_refresh(client: Client) -> None:
    client.provider.behaviour = Behaviour(refuse_scope_on_refresh=True)
    token = (await granted(client, "a"))["refresh_token"]
    assert (await client.refresh(token, scope="a")).json()["error"] == "invalid_request"
    assert (await client.refresh(token)).status_code == 200


async def test_the_owner_may_withhold_scopes(client: Client) -> None:
    client.provider.behaviour = Behaviour(withheld_scopes=("chat:write",))
    code = (await client.authorize())["code"]
    assert (await client.redeem(code)).json()["scope"] == "tasks:write"


async def test_the_consent_page_lets_the_owner_choose(client: Client) -> None:
    client.provider.behaviour = Behaviour(consent_page=True)
    page = await client.http.get(client.provider.authorization_url, params=authorization_query(client))
    assert '<form method="post">' in page.text
    chosen = {"decision": "allow", "owner": "grace", "scope": "chat:write"}
    callback = callback_of(await client.http.post(page.url, data=chosen))
    tokens = (await client.redeem(callback["code"])).json()
    assert tokens["scope"] == "chat:write"
    assert (await client.introspect(tokens["access_token"]))["sub"] == "grace"
    refused = callback_of(await client.http.post(page.url, data={"decision": "deny"}))
    assert (refused["error"], refused["state"]) == ("access_denied", "st")


async def test_a_client_with_the_wrong_secret_is_refused_and_its_token_not_spent(client: Client) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": client.provider.issue_refresh_token("ada")}
    wrong = (client.provider.client_id, "wrong")
    refused = await client.http.post(client.provider.token_url, data=form, auth=wrong)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["www-authenticate"] == "Basic"
    assert (await client.refresh(form["refresh_token"])).status_code == 200


async def test_basic_credentials_are_form_encoded_first(client: Client) -> None:
    client.provider.register_client("an:odd id", "100%+/: secret")
    form = {"grant_type": "client_credentials"}
    encoded = ("an%3Aodd+id", "100%25%2B%2F%3A+secret")
    assert (await client.http.post(client.provider.token_url, data=form, auth=encoded)).status_code == 200


async def test_only_the_registered_way_of_authentication_is_taken(client: Client) -> None:
    provider = client.provider
    secret = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    form = {"grant_type": "client_credentials"}
    assert (await client.http.post(provider.token_url, data=form | secret)).status_code == 401
    provider.behaviour = Behaviour(client_auth="body")
    assert (await client.http.post(provider.token_url, data=form | secret)).status_code == 200
    assert (await client.token(**form)).status_code == 401
    provider.behaviour = Behaviour(client_auth="none")
    public = {"client_id": provider.client_id}
    assert (await client.http.post(provider.token_url, data=form | public)).status_code == 200
    assert [r.client_auth for r in provider.requests] == ["body", "body", "basic", "none"]


class Signer:
    """A private key and what it signs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    def sign(self, **claims: Any) -> str:
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return jwt.encode({"alg": "ES256"}, claims, import_key(private, "EC"))


async def test_a_client_may_prove_itself_by_its_key_once_per_assertion(client: Client, clock: Clock) -> None:
    provider, signer = client.provider, Signer()
    provider.behaviour = Behaviour(client_auth="private_key_jwt")
    provider.register_client("keyed", public_key=signer.public_key)
    claims = {"iss": "keyed", "sub": "keyed", "aud": provider.token_url, "exp": clock.now + 60, "jti": "1"}

    async def status(assertion: str) -> int:
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        proof = {"client_assertion_type": kind, "client_assertion": assertion}
        form = {"grant_type": "client_credentials"} | proof
        return (await client.http.post(provider.token_url, data=form)).status_code

    good = signer.sign(**claims)
    assert await status(good) == 200
    assert await status(good) == 401
    assert await status(signer.sign(**claims | {"jti": "2", "aud": "https://elsewhere.example"})) == 401
    assert await status(signer.sign(**claims | {"jti": "3", "exp": clock.now})) == 401
    assert await status(signer.sign(**claims | {"jti": "4", "sub": "another"})) == 401
    assert await status(Signer().sign(**claims | {"jti": "5"})) == 401


async def test_a_service_account_gets_tokens_for_its_signature(client: Client, clock: Clock) -> None:
    provider, signer = client.provider, Signer()
    provider.register_service_account("robot", signer.public_key)
    claims = {"iss": "robot", "aud": provider.issuer, "exp": clock.now + 60, "scope": "tasks:write"}

    async def answer(assertion: str) -> httpx.Response:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return await client.http.post(provider.token_url, data=form)

    tokens = (await answer(signer.sign(**claims))).json()
    assert "refresh_token" not in tokens
    assert await client.call(tokens["access_token"], "tasks") == 200
    assert (await answer(Signer().sign(**claims))).json()["error"] == "invalid_grant"
    assert (await answer(signer.sign(**claims | {"iss": "nobody"}))).json()["error"] == "invalid_grant"
    assert (await answer("no JWT")).json()["error"] == "invalid_grant"


async def test_client_credentials_buy_an_access_token_alone(client: Client) -> None:
    tokens = (await client.token(grant_type="client_credentials", scope="tasks:write")).json()
    assert tokens["scope"] == "tasks:write"
    assert "refresh_token" not in tokens


async def test_the_token_endpoint_reads_json_too(client: Client) -> None:
    form = {"grant_type": "client_credentials"}
    answer = await client.http.post(client.provider.token_url, json=form, auth=client.auth)
    assert answer.status_code == 200


async def test_revoking_a_refresh_token_ends_the_family_and_the_unknown_is_no_error(client: Client) -> None:
    first = await granted(client)

    async def revoke(token: str) -> int:
        url = client.provider.revocation_url
        return (await client.http.post(url, data={"token": token}, auth=client.auth)).status_code

    assert await revoke("unknown") == 200
    assert await client.call(first["access_token"]) == 200
    assert await revoke(first["refresh_token"]) == 200
    assert await client.call(first["access_token"]) == 401
    assert (await client.introspect(first["refresh_token"])) == {"active": False}


async def test_the_metadata_says_what_there_is(client: Client) -> None:
    url = f"{client.provider.issuer}/.well-known/oauth-authorization-server"
    metadata = (await client.http.get(url)).json()
    assert metadata["issuer"] == client.provider.issuer
    assert metadata["token_endpoint"] == client.provider.token_url
    assert metadata["authorization_response_iss_parameter_supported"] is True


async def test_the_api_wants_the_scope_of_its_path(client: Client) -> None:
    token = (await granted(client, "chat:write"))["access_token"]
    assert await client.call(token, "tasks/1") == 403
    assert await client.call(token, "chat") == 200
    assert [(call.path, call.status, call.owner) for call in client.provider.api_calls] == [
        ("tasks/1", 403, "ada"),
        ("chat", 200, "ada"),
    ]


async def test_access_tokens_can_be_killed_alone(client: Client) -> None:
    first = await granted(client)
    client.provider.revoke_access_tokens()
    assert await client.call(first["access_token"]) == 401
    assert (await client.refresh(first["refresh_token"])).status_code == 200


async def test_an_owner_can_take_one_consent_back_or_the_provider_all(client: Client) -> None:
    first, other = await granted(client), await granted(client)
    client.provider.revoke_family(first["refresh_token"])
    assert await client.call(first["access_token"]) == 401
    assert await client.call(other["access_token"]) == 200
    client.provider.revoke_all()
    assert await client.call(other["access_token"]) == 401


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Status(502), 502, "upstream failed"),
        (RateLimited(7), 429, "rate_limited"),
        (Html(), 200, "<html>"),
        (Empty(), 200, ""),
        (ErrorAnswer("invalid_grant", 403), 403, "invalid_grant"),
        (ErrorIn200(), 200, "bad_refresh_token"),
        (InvalidClient(), 401, "invalid_client"),
    ],
)
async def test_a_canned_fault_is_answered_once_and_touches_nothing(
    client: Client, fault: Any, status: int, body: str
) -> None:
    client.provider.faults.next(fault)
    token = client.provider.issue_refresh_token("ada")
    answer = await client.refresh(token)
    assert answer.status_code == status
    assert body in answer.text
    assert (await client.refresh(token)).status_code == 200
    assert [(r.fault, r.outcome) for r in client.provider.requests] == [
        (type(fault).__name__, "untouched"),
        ("", "issued"),
    ]


async def test_a_rate_limit_says_when_to_come_back(client: Client) -> None:
    client.provider.faults.next(RateLimited(7))
    assert (await client.token()).headers["retry-after"] == "7"


async def test_a_fault_may_hide_that_the_token_was_spent(client: Client) -> None:
    client.provider.faults.next(Status(500, processed=True))
    token = client.provider.issue_refresh_token("ada")
    assert (await client.refresh(token)).status_code == 500
    assert client.provider.requests[-1].outcome == "issued"
    assert (await client.refresh(token)).json()["error"] == "invalid_grant"
    assert client.provider.reuses == 1


async def test_a_reset_before_processing_spends_nothing(client: Client) -> None:
    client.provider.faults.next(ResetBefore())
    token = client.provider.issue_refresh_token("ada")
    with pytest.raises(httpx.ReadError):
        await client.refresh(token)
    assert client.provider.requests[-1].outcome == "untouched"
    assert (await client.refresh(token)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "error"),
    [(ResetAfterProcessing(), httpx.ReadError), (Truncated(), httpx.RemoteProtocolError)],
)
async def test_an_answer_can_be_lost_on_its_way(
    client: Client, fault: Any, error: type[httpx.TransportError]
) -> None:
    client.provider.faults.next(fault)
    token = client.provider.issue_refresh_token("ada")
    with pytest.raises(error):
        await client.refresh(token)
    assert client.provider.requests[-1].outcome == "issued"
    assert (await client.refresh(token)).json()["error"] == "invalid_grant"


async def test_an_answer_can_come_as_a_form(client: Client) -> None:
    client.provider.faults.next(FormEncoded())
    answer = await client.refresh(client.provider.issue_refresh_token("ada"))
    assert "access_token" in parse_qs(answer.text)


async def test_one_refresh_can_go_without_a_refresh_token(client: Client) -> None:
    client.provider.faults.next(DropRefreshToken())
    first = await granted(client)
    assert "refresh_token" not in first
    assert "refresh_token" in (await client.refresh(first["spent"])).json()


@pytest.mark.parametrize("processed", [False, True])
async def test_a_request_can_be_held_and_released(client: Client, processed: bool) -> None:
    hang = Hang(processed=processed)
    client.provider.faults.next(hang)
    call = asyncio.create_task(client.refresh(client.provider.issue_refresh_token("ada")))
    await hang.reached()
    assert client.provider.requests[-1].outcome == ("issued" if processed else "pending")
    assert not call.done()
    hang.release()
    assert (await call).status_code == 200


async def test_a_hang_ends_by_itself_where_it_has_seconds(client: Client) -> None:
    client.provider.faults.next(Hang(0.01))
    assert (await granted(client))["access_token"]


async def test_a_request_whose_client_gave_up_is_carried_out_all_the_same(client: Client) -> None:
    hang = Hang()
    client.provider.faults.next(hang)
    token = client.provider.issue_refresh_token("ada")
    call = asyncio.create_task(client.refresh(token))
    await hang.reached()
    call.cancel()
    await asyncio.wait([call])
    hang.release()
    # The provider's loop takes requests up in order: this one comes after what was released.
    assert (await client.refresh(client.provider.issue_refresh_token("grace"))).status_code == 200
    assert (await client.refresh(token)).json()["error"] == "invalid_grant"


async def test_the_same_token_sent_twice_at_once_is_noticed(client: Client) -> None:
    hang, token = Hang(), client.provider.issue_refresh_token("ada")
    client.provider.faults.next(hang)
    first = asyncio.create_task(client.refresh(token))
    await hang.reached()
    await client.refresh(client.provider.issue_refresh_token("grace"))
    assert client.provider.overlaps == 0
    await client.refresh(token)
    assert client.provider.overlaps == 1
    hang.release()
    assert (await first).json()["error"] == "invalid_grant"


async def test_a_standing_fault_lasts_until_it_is_cleared(client: Client) -> None:
    client.provider.faults.always(Status(503))
    client.provider.faults.next(RateLimited())
    token = client.provider.issue_refresh_token("ada")
    assert [(await client.refresh(token)).status_code for _ in range(3)] == [429, 503, 503]
    client.provider.faults.clear()
    assert (await client.refresh(token)).status_code == 200


async def test_stopping_lets_hanging_requests_go(clock: Clock) -> None:
    async with httpx.AsyncClient() as http:
        async with Emulator(clock=clock) as provider:
            hang = Hang()
            provider.faults.next(hang)
            call = asyncio.create_task(Client(provider, http).refresh("any"))
            await hang.reached()
        assert (await call).status_code == 400


async def test_tests_in_other_processes_reach_the_emulator_over_http(client: Client) -> None:
    url = f"{client.provider.issuer}/_emulator"
    asked = {"owner": "ada", "scopes": ["tasks:write"]}
    token = (await client.http.post(f"{url}/refresh_tokens", json=asked)).json()["refresh_token"]
    faults = [{"fault": "Status", "status": 502}, {"fault": "Hang", "seconds": 0.01}]
    assert (await client.http.post(f"{url}/faults", json=faults)).status_code == 204
    assert (await client.refresh(token)).status_code == 502
    tokens = (await client.refresh(token)).json()
    assert await client.call(tokens["access_token"], "tasks") == 200
    seen = (await client.http.get(f"{url}/requests")).json()
    assert (seen["token_calls"], seen["refreshes"], seen["reuses"], seen["overlaps"]) == (2, 2, 0, 0)
    assert [record["fault"] for record in seen["requests"]] == ["Status", "Hang"]
    assert (await client.http.post(f"{url}/revoke_all")).status_code == 204
    assert await client.call(tokens["access_token"], "tasks") == 401


async def test_a_fault_nobody_knows_is_refused(client: Client) -> None:
    answer = await client.http.post(f"{client.provider.issuer}/_emulator/faults", json=[{"fault": "Flood"}])
    assert answer.status_code == 400
    assert "RateLimited" in answer.json()["error"]
