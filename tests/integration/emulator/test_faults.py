import asyncio
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from integration.emulator.oauth_client import Client, Clock

from dispenser.testing import Emulator
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
    first = await client.granted()
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
    assert (await client.granted())["access_token"]


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
