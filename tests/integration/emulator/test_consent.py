import pytest
from integration.emulator.oauth_client import Client, Clock, authorization_query, callback_of

from dispenser.testing import Behaviour


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
