"""Providers that keep to RFC 6749 in their own way, and what the emulator counts of their requests."""

import asyncio
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs

import pytest
from integration.emulator.oauth_client import Client, Clock

from dispenser.testing import Behaviour
from dispenser.testing.faults import Hang

IDLE, LIFE = 100, 250


async def test_the_fields_may_lie_in_a_member_on_exchange_and_at_the_top_on_refresh(client: Client) -> None:
    client.provider.behaviour = Behaviour(exchange_member="authed_user")
    code = (await client.authorize())["code"]
    first = (await client.redeem(code)).json()
    assert set(first) == {"ok", "authed_user"}
    second = (await client.refresh(first["authed_user"]["refresh_token"])).json()
    assert second["access_token"] != first["authed_user"]["access_token"]


async def test_a_provider_may_answer_with_a_form_unless_asked_for_json(client: Client) -> None:
    client.provider.behaviour = Behaviour(form_unless_asked=True)
    token = client.provider.issue_refresh_token("ada")
    form = parse_qs((await client.refresh(token)).text)
    client.http.headers["accept"] = "application/json"
    assert (await client.refresh(form["refresh_token"][0])).json()["access_token"]


@pytest.mark.parametrize(
    ("refusals", "status", "answer"),
    [
        ("in_200", 200, {"error": "bad_refresh_token"}),
        ("ok_false", 200, {"ok": False, "error": "bad_refresh_token"}),
        (
            "sentences",
            400,
            {"errors": ["bad_refresh_token - The refresh token is unknown, or another client's."]},
        ),
    ],
)
async def test_refusals_come_in_the_providers_own_words(
    client: Client, refusals: str, status: int, answer: dict[str, object]
) -> None:
    client.provider.behaviour = Behaviour(refusals=refusals, codes={"invalid_grant": "bad_refresh_token"})
    refused = await client.refresh("nobody's")
    assert refused.status_code == status
    assert answer.items() <= refused.json().items()
    assert client.provider.outcomes == {"invalid_grant": 1}


@pytest.mark.parametrize("rotates", [True, False])
async def test_an_unused_refresh_token_ends_and_using_it_prolongs_it(
    client: Client, clock: Clock, rotates: bool
) -> None:
    client.provider.behaviour = Behaviour(
        rotates=rotates, refresh_token_idle_seconds=IDLE, tells_refresh_token_life=True
    )
    token = client.provider.issue_refresh_token("ada")
    for _ in range(3):
        clock.now += IDLE - 1
        answer = (await client.refresh(token)).json()
        assert answer["refresh_token_expires_in"] == IDLE
        token = answer["refresh_token"]
    clock.now += IDLE
    assert (await client.refresh(token)).json()["error"] == "invalid_grant"
    assert client.provider.outcomes == {"issued": 3, "expired": 1}


async def test_a_consents_refresh_tokens_end_with_it_however_often_they_are_used(
    client: Client, clock: Clock
) -> None:
    client.provider.behaviour = Behaviour(refresh_token_life_seconds=LIFE, tells_refresh_token_life=True)
    token = client.provider.issue_refresh_token("ada")
    clock.now += LIFE - 1
    answer = (await client.refresh(token)).json()
    assert answer["refresh_token_expires_in"] == 1
    clock.now += 1
    assert (await client.refresh(answer["refresh_token"])).json()["error"] == "invalid_grant"


async def test_one_consent_too_many_ends_the_oldest(client: Client) -> None:
    client.provider.behaviour = Behaviour(most_consents=2)
    first, second, third = (client.provider.issue_refresh_token("ada") for _ in range(3))
    other = client.provider.issue_refresh_token("bob")
    answers = [(await client.refresh(token)).status_code for token in (first, second, third, other)]
    assert answers == [400, 200, 200, 200]


@pytest.mark.parametrize("how", ["seconds", "date"])
async def test_too_many_requests_in_a_second_are_told_when_to_come_again(
    client: Client, clock: Clock, how: str
) -> None:
    client.provider.behaviour = Behaviour(rotates=False, max_requests_per_second=2, retry_after=how)
    token = client.provider.issue_refresh_token("ada")
    answers = [await client.refresh(token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    told = answers[-1].headers["retry-after"]
    wait = float(told) if how == "seconds" else parsedate_to_datetime(told).timestamp() - clock.now
    assert wait >= 1
    clock.now += wait
    assert (await client.refresh(token)).status_code == 200
    assert client.provider.most_in_a_second == 3
    assert client.provider.outcomes == {"issued": 3, "too_many": 1}


async def test_requests_under_way_at_once_are_counted(client: Client) -> None:
    tokens = [client.provider.issue_refresh_token("ada") for _ in range(3)]
    await client.refresh(tokens.pop())
    assert client.provider.most_at_once == 1
    hangs = [Hang(), Hang()]
    client.provider.faults.next(*hangs)
    under_way = [asyncio.create_task(client.refresh(token)) for token in tokens]
    for hang in hangs:
        await hang.reached()
    client.provider.faults.clear()
    await asyncio.gather(*under_way)
    assert client.provider.most_at_once == 2


async def test_a_provider_may_say_nothing_of_scopes_and_call_its_tokens_otherwise(client: Client) -> None:
    client.provider.behaviour = Behaviour(omit_scope=True, token_type="bot", expires_in="zero")
    answer = await client.granted("chat:write")
    assert "scope" not in answer
    assert (answer["token_type"], answer["expires_in"]) == ("bot", 0)
    client.provider.behaviour = Behaviour(scope_separator=",")
    assert (await client.granted("chat:write", "files:read"))["scope"] == "chat:write,files:read"
