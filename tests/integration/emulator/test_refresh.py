from typing import Any

import pytest
from integration.emulator.oauth_client import Client, Clock

from dispenser.testing import Behaviour


async def test_a_refresh_spends_its_token_and_answers_with_the_next(client: Client) -> None:
    first = await client.granted()
    assert first["refresh_token"] != first["spent"]
    second = (await client.refresh(first["refresh_token"])).json()
    assert second["access_token"] != first["access_token"]
    assert client.provider.reuses == 0


async def test_reuse_of_a_spent_token_kills_the_whole_family(client: Client) -> None:
    first = await client.granted()
    answer = await client.refresh(first["spent"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert await client.call(first["access_token"]) == 401
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert [record.outcome for record in client.provider.requests] == ["issued", "reused", "invalid_grant"]
    assert client.provider.reuses == 1


async def test_another_familys_reuse_harms_nobody(client: Client) -> None:
    first, other = await client.granted(), await client.granted()
    await client.refresh(first["spent"])
    assert await client.call(other["access_token"]) == 200


async def test_a_provider_that_only_denies_leaves_the_family_alive(client: Client) -> None:
    client.provider.behaviour = Behaviour(on_reuse="deny")
    first = await client.granted()
    assert (await client.refresh(first["spent"])).json()["error"] == "invalid_grant"
    assert await client.call(first["access_token"]) == 200
    assert (await client.refresh(first["refresh_token"])).status_code == 200


async def test_within_the_grace_a_spent_token_gets_new_tokens(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30)
    first = await client.granted()
    clock.now += 29
    again = (await client.refresh(first["spent"])).json()
    assert again["refresh_token"] not in (first["refresh_token"], first["spent"])
    assert client.provider.requests[-1].outcome == "replayed"
    assert await client.call(first["access_token"]) == await client.call(again["access_token"]) == 200


async def test_within_the_grace_a_provider_may_repeat_its_answer(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30, replay="same")
    first = await client.granted()
    clock.now += 10
    again = (await client.refresh(first["spent"])).json()
    assert (again["access_token"], again["refresh_token"]) == (first["access_token"], first["refresh_token"])
    assert again["expires_in"] == 3590


async def test_after_the_grace_reuse_counts(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(grace_seconds=30)
    first = await client.granted()
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
    first = await client.granted()
    assert first["refresh_token"] == first["spent"]
    assert (await client.refresh(first["spent"])).status_code == 200


async def test_a_refresh_without_refresh_token_leaves_the_old_one_alive(client: Client) -> None:
    client.provider.behaviour = Behaviour(omit_refresh_token=True)
    first = await client.granted()
    assert "refresh_token" not in first
    assert (await client.refresh(first["spent"])).status_code == 200


async def test_an_access_token_ends_with_its_seconds(client: Client, clock: Clock) -> None:
    client.provider.behaviour = Behaviour(access_token_seconds=60)
    token = (await client.granted())["access_token"]
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
    assert (await client.granted()).get("expires_in") == sent


async def test_a_refresh_may_ask_for_fewer_scopes_and_never_for_more(client: Client) -> None:
    token = (await client.granted("a", "b"))["refresh_token"]
    fewer = (await client.refresh(token, scope="a")).json()
    assert fewer["scope"] == "a"
    more = await client.refresh(fewer["refresh_token"], scope="a b c")
    assert more.json()["error"] == "invalid_scope"


async def test_a_provider_may_refuse_scope_in_a_refresh(client: Client) -> None:
    client.provider.behaviour = Behaviour(refuse_scope_on_refresh=True)
    token = (await client.granted("a"))["refresh_token"]
    assert (await client.refresh(token, scope="a")).json()["error"] == "invalid_request"
    assert (await client.refresh(token)).status_code == 200


async def test_access_tokens_can_be_killed_alone(client: Client) -> None:
    first = await client.granted()
    client.provider.revoke_access_tokens()
    assert await client.call(first["access_token"]) == 401
    assert (await client.refresh(first["refresh_token"])).status_code == 200


async def test_an_owner_can_take_one_consent_back_or_the_provider_all(client: Client) -> None:
    first, other = await client.granted(), await client.granted()
    client.provider.revoke_family(first["refresh_token"])
    assert await client.call(first["access_token"]) == 401
    assert await client.call(other["access_token"]) == 200
    client.provider.revoke_all()
    assert await client.call(other["access_token"]) == 401
