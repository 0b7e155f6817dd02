"""Agents get their tokens over a real broker, whatever happens to the connection on the way."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import aio_pika
import pytest
import uvloop
from aio_pika.connection import Connection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from integration.echo_dispenser import EchoDispenser, echo_dispenser, granted
from integration.line import Line
from services.server import free_port
from vault_jwt import vault_jwt

from dispenser import (
    Closed,
    DeadlineExceeded,
    Denied,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Unauthenticated,
    Unroutable,
    Vault,
    VaultError,
    VaultUnreachable,
)
from dispenser.amqp.line import connected
from dispenser.client import asking, retry
from dispenser.protocol import Call, Code, RejectedCall, RenewCall, Reply, TokenCall

TOKEN = vault_jwt()


@pytest.fixture
async def dispenser(vhost: str) -> AsyncIterator[EchoDispenser]:
    async with echo_dispenser(vhost) as listening:
        yield listening


@pytest.fixture
async def vault(vhost: str) -> AsyncIterator[Vault]:
    async with Vault(vhost, TOKEN) as opened:
        yield opened


@pytest.fixture
async def line(vhost: str) -> AsyncIterator[Line]:
    laid = Line(vhost, default_port=5672)
    await laid.lay()
    yield laid
    await laid.cut()


async def test_an_agent_gets_a_token(dispenser: EchoDispenser, vault: Vault) -> None:
    token = await vault.token("slack-post", min_ttl=60, scopes=["post"], owner="ada", purpose="digest")
    assert token.value == "token-for-slack-post"
    assert (token.service, token.owner, token.scopes, token.generation) == ("slack-post", "ada", ("post",), 1)
    assert token.expires_at is not None
    assert token.expires_at.tzinfo is not None
    assert dispenser.calls == [
        TokenCall(service="slack-post", min_ttl=60, scopes=("post",), owner="ada", purpose="digest")
    ]


async def test_an_agents_log_shows_no_token_at_debug_level(
    dispenser: EchoDispenser, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="aiormq")  # a process of ours would have quieted it
    async with Vault(vhost, TOKEN) as vault:
        await vault.token("slack-post")
    assert "Received frame" in caplog.text  # the driver did write
    shown = caplog.text + "".join(repr(record.args) for record in caplog.records)
    assert [secret for secret in (TOKEN, "token-for-slack-post") if secret in shown] == []


async def test_a_request_is_addressed_as_the_dispenser_demands(
    dispenser: EchoDispenser, vault: Vault, vhost: str
) -> None:
    await vault.token("slack-post", deadline=5)
    [message], [request] = dispenser.messages, dispenser.requests
    user = urlsplit(vhost).username
    assert message.user_id == user
    assert re.fullmatch(rf"vault\.reply\.{user}\.[0-9a-f]{{32}}", message.reply_to or "")
    assert re.fullmatch("[0-9a-f]{32}", message.correlation_id or "")
    assert message.delivery_mode is aio_pika.DeliveryMode.NOT_PERSISTENT
    assert isinstance(message.expiration, float)
    assert 0 < message.expiration <= 5
    assert 0 < request.deadline_seconds <= 5
    assert [opening.vault_token for opening in dispenser.openings] == [TOKEN]


async def test_calls_of_one_tick_travel_in_one_message(dispenser: EchoDispenser, vault: Vault) -> None:
    services = [f"service-{number}" for number in range(20)]
    tokens = await asyncio.gather(*(vault.token(service) for service in services))
    assert [token.value for token in tokens] == [f"token-for-{service}" for service in services]
    assert len(dispenser.messages) == 1


async def test_calls_beyond_a_messages_limits_are_spread(dispenser: EchoDispenser, vault: Vault) -> None:
    await asyncio.gather(*(vault.token(f"service-{number}") for number in range(65)))
    assert sorted(len(request.calls) for request in dispenser.requests) == [1, 64]
    dispenser.requests.clear()
    await asyncio.gather(*(vault.token(f"long-{number}", purpose="p" * 4000) for number in range(6)))
    assert [len(request.calls) for request in dispenser.requests] == [3, 3]


async def test_concurrent_calls_for_one_token_are_one(dispenser: EchoDispenser, vault: Vault) -> None:
    tokens = await asyncio.gather(*(vault.token("slack-post") for _ in range(50)))
    assert len(set(map(id, tokens))) == 1
    assert len(dispenser.calls) == 1


async def test_a_call_is_joined_while_it_is_under_way(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.open.clear()
    first = asyncio.create_task(vault.token("slack-post"))
    await dispenser.until(lambda seen: len(seen.calls) == 1)
    second = asyncio.create_task(vault.token("slack-post"))
    other = asyncio.create_task(vault.token("slack-post", owner="bob"))
    await dispenser.until(lambda seen: len(seen.calls) == 2)
    dispenser.open.set()
    assert await first is await second
    assert (await other).owner == "bob"
    assert len(dispenser.calls) == 2


async def test_a_call_goes_on_for_the_others_when_its_first_caller_leaves(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.open.clear()
    first = asyncio.create_task(vault.token("slack-post"))
    await dispenser.until(lambda seen: len(seen.calls) == 1)
    second = asyncio.create_task(vault.token("slack-post"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    dispenser.open.set()
    assert (await second).service == "slack-post"
    assert len(dispenser.calls) == 1


async def test_a_patient_call_is_not_failed_by_the_hasty_one_it_joined(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.open.clear()
    hasty = asyncio.create_task(vault.token("slack-post", deadline=0.2))
    await dispenser.until(lambda seen: len(seen.calls) == 1)
    patient = asyncio.create_task(vault.token("slack-post", deadline=10))
    with pytest.raises(DeadlineExceeded):
        await hasty
    await dispenser.until(lambda seen: len(seen.calls) == 2)
    dispenser.open.set()
    assert (await patient).service == "slack-post"


async def test_a_token_is_held_while_it_has_life_left(dispenser: EchoDispenser, vault: Vault) -> None:
    token = await vault.token("slack-post")
    assert await vault.token("slack-post", min_ttl=600) is token
    assert len(dispenser.calls) == 1
    await vault.token("slack-post", min_ttl=3600)
    assert len(dispenser.calls) == 2


async def test_a_reply_does_not_wait_for_its_neighbour(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.open.clear()
    quick, slow = (asyncio.create_task(vault.token(service)) for service in ("quick", "slow"))
    await dispenser.until(lambda seen: len(seen.calls) == 2)
    [message], [request] = dispenser.messages, dispenser.requests
    await dispenser.reply(message, (0, granted(request.calls[0])))
    assert (await quick).service == "quick"
    assert not slow.done()
    await dispenser.reply(message, (1, granted(request.calls[1])))
    assert (await slow).service == "slow"


async def test_answers_to_nobody_are_dropped(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.open.clear()
    waiting = asyncio.create_task(vault.token("slack-post"))
    await dispenser.until(lambda seen: len(seen.calls) == 1)
    [message] = dispenser.messages
    await dispenser.send(message, b"whatever", correlation_id="0" * 32)
    await dispenser.reply(message, (7, granted(TokenCall(service="another"))))
    await dispenser.reply(message, (0, granted(TokenCall(service="slack-post"))))
    assert (await waiting).value == "token-for-slack-post"
    dispenser.open.set()
    assert (await vault.token("time-tracker")).service == "time-tracker"


async def test_an_answer_that_cannot_be_read_fails_its_calls_at_once(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.open.clear()
    waiting = asyncio.create_task(vault.token("slack-post", deadline=60))
    await dispenser.until(lambda seen: len(seen.calls) == 1)
    [message] = dispenser.messages
    await dispenser.send(message, dispenser.sealed_plain(message, b"garbage"))
    with pytest.raises(VaultError, match="cannot be read"):
        await waiting


async def test_a_call_that_cannot_be_sent_spares_its_neighbours(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    wrong, right = await asyncio.gather(
        vault.token("slack-post", min_ttl=-1), vault.token("time-tracker"), return_exceptions=True
    )
    assert isinstance(wrong, InvalidRequest)
    assert not isinstance(right, BaseException)
    assert right.service == "time-tracker"


async def test_a_refusal_is_an_error_of_its_kind(dispenser: EchoDispenser, vault: Vault) -> None:
    dispenser.answer = lambda _: Reply(code=Code.DENIED, service="slack-post", reason="No policy.")
    with pytest.raises(Denied, match="No policy"):
        await vault.token("slack-post")
    assert len(dispenser.calls) == 1


def answers(*replies: Reply) -> Callable[[Call], Reply]:
    """These in turn, then tokens."""
    left = list(replies)
    return lambda call: left.pop(0) if left else granted(call)


async def test_a_limit_that_ends_before_the_deadline_is_waited_for(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.answer = answers(
        Reply(code=Code.RATE_LIMITED, retry_after=0.01), Reply(code=Code.OVERLOADED, retry_after=0.01)
    )
    assert (await vault.token("slack-post", deadline=10)).service == "slack-post"
    assert len({message.correlation_id for message in dispenser.messages}) == 3


async def test_a_limit_that_ends_after_the_deadline_is_told_at_once(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    dispenser.answer = answers(Reply(code=Code.RATE_LIMITED, retry_after=600))
    with pytest.raises(RateLimited) as caught:
        await vault.token("slack-post", deadline=60)
    assert caught.value.retry_after == 600


async def test_a_lost_connection_costs_a_pending_call_nothing_but_time(
    dispenser: EchoDispenser, line: Line
) -> None:
    async with Vault(line.url, TOKEN) as vault:
        dispenser.open.clear()
        pending = asyncio.create_task(vault.token("slack-post"))
        await dispenser.until(lambda seen: len(seen.messages) == 1)
        await line.cut()
        await line.lay()
        await dispenser.until(lambda seen: len(seen.messages) == 2)
        dispenser.open.set()
        assert (await pending).service == "slack-post"
    before, after = dispenser.messages
    assert before.correlation_id != after.correlation_id
    assert before.reply_to != after.reply_to


async def test_the_connection_is_made_again_however_often_it_breaks(
    dispenser: EchoDispenser, line: Line
) -> None:
    async with Vault(line.url, TOKEN) as vault:
        for number in range(3):
            assert (await vault.token(f"service-{number}")).service == f"service-{number}"
            await line.cut()
            await line.lay()
    assert len({message.reply_to for message in dispenser.messages}) == 3


async def test_a_broker_that_comes_late_is_waited_for(dispenser: EchoDispenser, line: Line) -> None:
    await line.cut()
    async with Vault(line.url, TOKEN) as vault:
        with pytest.raises(VaultUnreachable, match="no connection to RabbitMQ"):
            await vault.token("slack-post", deadline=0.2)
        waiting = asyncio.create_task(vault.token("slack-post", deadline=20))
        await line.lay()
        assert (await waiting).service == "slack-post"


async def test_a_broken_channel_is_a_broken_link(dispenser: EchoDispenser, vault: Vault, vhost: str) -> None:
    """As when the broker closes it for a reason of its own, with the connection still up."""
    await vault.token("slack-post")
    assert vault._holder is not None
    link = await vault._holder._asking._transport._link  # type: ignore[attr-defined]
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await link._post._channel.queue_declare("no-such-queue", passive=True)
    assert (await vault.token("time-tracker")).service == "time-tracker"
    assert len({message.reply_to for message in dispenser.messages}) == 2


async def test_nobody_listening_is_told_at_the_deadline(vhost: str, vault: Vault) -> None:
    async with echo_dispenser(vhost, listens=False):
        with pytest.raises(DeadlineExceeded):
            await vault.token("slack-post", deadline=0.5)


@pytest.mark.parametrize("exchange", [True, False])
async def test_a_broker_without_the_dispensers_queue_is_told_at_once(vhost: str, exchange: bool) -> None:
    async with echo_dispenser(vhost) as dispenser:
        await dispenser.queue.delete(if_unused=False, if_empty=False)
        if not exchange:
            await dispenser.channel.exchange_delete("vault.rpc")
        async with Vault(vhost, TOKEN) as vault, asyncio.timeout(30):
            with pytest.raises(Unroutable, match="dispenser init"):
                await vault.token("slack-post", deadline=60)


async def test_a_full_queue_is_tried_again(vhost: str, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = asyncio.Event()

    def wait_seconds(error: VaultError, attempt: int, *, left_seconds: float, entropy: float) -> float | None:
        assert isinstance(error, Overloaded)
        refused.set()
        return retry.wait_seconds(error, attempt, left_seconds=left_seconds, entropy=entropy)

    monkeypatch.setattr(asking, "wait_seconds", wait_seconds)
    async with echo_dispenser(vhost, listens=False, max_length=1) as dispenser:
        await _fill(dispenser)
        call = asyncio.create_task(vault.token("slack-post", deadline=20))
        await refused.wait()
        await dispenser.queue.purge()
        await dispenser.listen()
        assert (await call).service == "slack-post"


async def _fill(dispenser: EchoDispenser) -> None:
    await dispenser.queue.purge()
    await dispenser.channel.default_exchange.publish(aio_pika.Message(b"in the way"), dispenser.queue.name)
    # Answered after what was published before it on the same channel.
    await dispenser.queue.declare()


async def test_a_queue_that_stays_full_is_told_at_the_deadline(vhost: str, vault: Vault) -> None:
    async with echo_dispenser(vhost, listens=False, max_length=1) as dispenser:
        await _fill(dispenser)
        with pytest.raises(Overloaded, match="full"):
            await vault.token("slack-post", deadline=0.5)


async def test_a_wrong_password_is_told_at_once_and_not_shown(dispenser: EchoDispenser, vhost: str) -> None:
    parts = urlsplit(vhost)
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=f"{parts.username}:wrong-password@{host}").geturl()
    async with Vault(url, TOKEN) as vault, asyncio.timeout(30):
        with pytest.raises(Unauthenticated, match="refused the login") as caught:
            await vault.token("slack-post", deadline=60)
    assert "wrong-password" not in str(caught.value)


async def test_a_rejected_token_is_reported_once_and_asked_for_anew(
    dispenser: EchoDispenser, vault: Vault
) -> None:
    token = await vault.token("slack-post", owner="ada")
    await asyncio.gather(*(vault.rejected(token) for _ in range(10)))
    await vault.token("slack-post", owner="ada")
    assert dispenser.calls == [
        TokenCall(service="slack-post", owner="ada"),
        RejectedCall(service="slack-post", owner="ada", generation=1),
        TokenCall(service="slack-post", owner="ada"),
    ]


async def test_the_vault_token_is_renewed_before_it_ends(dispenser: EchoDispenser, vhost: str) -> None:
    old, new = vault_jwt(life_seconds=900, age_seconds=800), vault_jwt(serial=1)

    def answer(call: Call) -> Reply:
        if isinstance(call, RenewCall):
            return Reply(code=Code.OK, access_token=new, expires_in=900)
        return granted(call)

    dispenser.answer = answer
    async with Vault(vhost, old) as vault:
        await vault.token("slack-post")
    assert dispenser.calls == [RenewCall(), TokenCall(service="slack-post")]
    assert [opening.vault_token for opening in dispenser.openings] == [old, new]


async def test_a_renewal_that_fails_leaves_the_old_vault_token_at_work(
    dispenser: EchoDispenser, vhost: str
) -> None:
    old = vault_jwt(life_seconds=900, age_seconds=800)
    dispenser.answer = lambda call: Reply(code=Code.DENIED) if isinstance(call, RenewCall) else granted(call)
    async with Vault(vhost, old) as vault:
        assert (await vault.token("slack-post")).service == "slack-post"
    assert [opening.vault_token for opening in dispenser.openings] == [old]


async def test_closing_ends_calls_that_wait_and_all_that_runs(dispenser: EchoDispenser, vhost: str) -> None:
    dispenser.open.clear()
    async with Vault(vhost, TOKEN) as vault:
        waiting = asyncio.create_task(vault.token("slack-post", deadline=60))
        await dispenser.until(lambda seen: len(seen.calls) == 1)
    with pytest.raises(Closed, match="closed"):
        await waiting
    assert not [task for task in asyncio.all_tasks() if _runs_in_the_client(task)]
    reply_to = dispenser.messages[0].reply_to
    assert reply_to is not None
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await dispenser.channel.get_queue(reply_to)


def _runs_in_the_client(task: asyncio.Task[object]) -> bool:
    return any("dispenser/client" in frame.f_code.co_filename for frame in task.get_stack())


async def test_closing_does_not_wait_for_a_broker_that_is_not_there(line: Line) -> None:
    await line.cut()
    async with asyncio.timeout(10):
        async with Vault(line.url, TOKEN):
            pass


async def test_a_vault_that_is_not_open_says_so(vhost: str) -> None:
    vault = Vault(vhost, TOKEN)
    with pytest.raises(Closed, match="async with"):
        await vault.token("slack-post")
    async with vault:
        pass
    with pytest.raises(Closed, match="async with"):
        await vault.token("slack-post")


def test_uvloop_serves_as_well(vhost: str) -> None:
    async def scenario() -> list[str]:
        async with echo_dispenser(vhost), Vault(vhost, TOKEN) as vault:
            tokens = await asyncio.gather(*(vault.token(service) for service in ("a", "b")))
            return [token.service for token in tokens]

    assert uvloop.run(scenario()) == ["a", "b"]


async def test_a_connection_that_cannot_be_made_is_closed() -> None:
    """Else the driver closes it when it is collected as garbage, with or without a loop that runs."""
    connection = Connection(f"amqp://guest:guest@127.0.0.1:{free_port()}")
    with pytest.raises(CONNECTION_EXCEPTIONS):
        await connected(connection, timeout_seconds=10.0)
    assert connection.is_closed
