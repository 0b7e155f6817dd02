"""Overload is refused fast, fairly per agent, and nothing else slows down."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import httpx
import pytest
from builders import KEYS, OTHER_KEYS, VAULT, a_policy, a_vault_token, an_agent
from integration.desk import Desk
from sealed_agent import PLACE, SealedAgent
from services.server import free_port

from dispenser import admission, sealed_frame
from dispenser.admission import Admission
from dispenser.bounded_journal import BoundedJournal
from dispenser.http.app import build_app
from dispenser.keyset import PublicKey
from dispenser.metrics import Metrics
from dispenser.opening import Opened
from dispenser.protocol import MAX_CALLS, Code, Reply, TokenCall
from dispenser.sealed_frame import Kind
from dispenser.vault_token import Identity, mint
from shared.model import AgentName
from shared.ports import Bus, Delivery
from shared.settings import DEFAULT_MAX_REQUESTS_PER_SECOND, Settings
from shared.topology import RPC_KEY

FLOOD = 20_000
SMALLER_FLOOD = 4000
HONEST = 20
#: Far more than anything takes: what never comes is a failure, and no wait for ever.
PATIENCE_SECONDS = 30.0


class Sender:
    """A user of the broker in a session of an agent's."""

    def __init__(self, door: "Door", user: str, token: str | None = None) -> None:
        self._door = door
        self.place = replace(PLACE, user=user, reply_to=f"vault.reply.{user}.{secrets.token_hex(16)}")
        self.token = token or mint(KEYS, door.desk.identity(agent=AgentName(user)), vault=VAULT)
        self._agent = SealedAgent(self.place)
        #: What came, in order, by message: the replies in it, or why there are none.
        self.codes: Counter[str] = Counter()

    async def open(self) -> Self:
        """Ask for a session."""
        [to, *_] = self._door.desk.transport.published
        key = PublicKey(id=to.id, public=to.public, begins_at=0, ends_at=4e9)
        await self.send(self._agent.opening(self.token, key, sent_at=time.time()))
        return self

    async def ask(self, calls: int = 1, *, min_ttl: float = 1) -> None:
        """A request on its way through the door."""
        asked = [TokenCall(service="time-tracker", min_ttl=min_ttl)] * calls
        await self.send(self._agent.request(*asked, sent_at=time.time(), deadline_seconds=PATIENCE_SECONDS))

    async def send(self, body: bytes) -> None:
        """A message on its way through the door."""
        await self._door.handle(
            Delivery(
                body=body,
                headers={},
                routing_key=RPC_KEY,
                correlation_id=sealed_frame.identifier(body),
                reply_to=self.place.reply_to,
                user_id=self.place.user,
                expiration_seconds=PATIENCE_SECONDS,
                redelivered=False,
            )
        )

    def hear(self, asked: str, body: bytes) -> list[str]:
        match sealed_frame.kind(body):
            case Kind.REFUSAL:
                heard = [str(sealed_frame.read_refusal(body))]
            case Kind.OPENED:
                heard = ["opened" if isinstance(self._agent.hear(body), Opened) else "unopened"]
            case _:
                heard = [reply.code for _, reply in self._agent.replies(asked, body)]
        self.codes.update(heard)
        return heard


class Door:
    """The AMQP door over a desk, and who knocks there."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.metrics = desk.metrics
        self._senders: dict[str, Sender] = {}
        #: (user, what was heard), in order.
        self.order: list[tuple[str, list[str]]] = []
        self.handle = desk.door(cast(Bus, self), "amqp://broker/").handle

    async def sender(self, user: str, token: str | None = None, *, opened: bool = True) -> Sender:
        sender = Sender(self, user, token)
        self._senders[sender.place.reply_to] = sender
        return await sender.open() if opened else sender

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        """What the door does with an answer."""
        sender = self._senders[reply_to]
        self.order.append((sender.place.user, sender.hear(correlation_id, body)))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    yield desk
    await desk.close()


@pytest.fixture
def door(desk: Desk) -> Door:
    return Door(desk)


async def declared(desk: Desk, left: float = 3600, **limits: int) -> None:
    """A token with so many seconds left, and two agents of the same rights, `intern` with these limits."""
    await desk.grant(left=left)
    agents = [an_agent(), replace(an_agent("intern"), **limits)]
    await desk.declare(agents=agents, policies=[a_policy(agents=("*",))])
    await desk.look()


async def test_one_agents_flood_costs_others_nothing(
    desk: Desk, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declared(desk)
    flooding, honest = await door.sender("intern"), await door.sender("tracker")
    monkeypatch.setattr(admission, "_now", lambda: 0.0)  # nothing comes back: what is given out adds up
    tasks = [asyncio.create_task(flooding.ask()) for _ in range(FLOOD)]
    tasks += [asyncio.create_task(honest.ask()) for _ in range(HONEST)]
    await asyncio.gather(*tasks)
    assert honest.codes == {"opened": 1, Code.OK: HONEST}
    assert flooding.codes[Code.OK] <= DEFAULT_MAX_REQUESTS_PER_SECOND
    assert flooding.codes[Code.OVERLOADED] + flooding.codes[Code.RATE_LIMITED] == admission.REFUSALS_AT_ONCE
    # They came last, and did not wait for what others had in their lane.
    served = [user for user, heard in door.order if heard == [Code.OK]]
    assert served[-1] == "intern"


async def test_a_flood_leaves_nothing_behind(desk: Desk, door: Door) -> None:
    await declared(desk, max_concurrency=5)
    desk.dispenser._journal = BoundedJournal(desk.journal)
    flooding = await door.sender("intern")
    await asyncio.gather(*(flooding.ask() for _ in range(SMALLER_FLOOD)))
    assert desk.dispenser.admission._lanes._lanes == {}
    assert desk.dispenser.admission._lanes._at_work == 0
    refusals = [record for record in desk.journal.records if record.outcome != Code.OK]
    assert 0 < len(refusals) <= SMALLER_FLOOD / 10
    assert {(record.action, record.agent) for record in refusals} == {("request.refused", "intern")}


async def test_an_agent_that_asks_too_often_is_told_when_to_ask_again_before_anything_is_done(
    desk: Desk, door: Door
) -> None:
    await declared(desk, max_requests_per_second=10)
    often, seldom = await door.sender("intern"), await door.sender("tracker")
    lookups = len(desk.lookups.asked)
    await asyncio.gather(*(often.ask() for _ in range(30)))
    assert set(often.codes) == {"opened", Code.OK, Code.RATE_LIMITED}
    assert 10 <= often.codes[Code.OK] < 30
    assert len(desk.lookups.asked) - lookups <= often.codes[Code.OK]
    await seldom.ask()
    assert seldom.codes[Code.OK] == 1


async def test_a_batch_counts_by_its_calls_and_is_refused_whole(desk: Desk, door: Door) -> None:
    await declared(desk, max_requests_per_second=100)
    sender = await door.sender("intern")
    for _ in range(2):
        await sender.ask(MAX_CALLS)
    assert sender.codes == {"opened": 1, Code.OK: MAX_CALLS, Code.RATE_LIMITED: MAX_CALLS}


async def test_requests_that_wait_for_a_provider_hold_up_nobody(
    desk: Desk, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.dispenser, "admission", Admission(slots=2))
    await declared(desk, left=30)
    asked, gate = asyncio.Event(), asyncio.Event()

    async def hung(event: Any) -> None:
        asked.set()
        await gate.wait()
        await desk.rotate(event)

    desk.refresher = hung
    slow, quick = await door.sender("intern"), await door.sender("tracker")
    waiting = asyncio.create_task(slow.ask(20, min_ttl=60))
    await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
    await asyncio.gather(*(quick.ask() for _ in range(HONEST)))
    assert quick.codes[Code.OK] == HONEST
    assert slow.codes == {"opened": 1}
    gate.set()
    await waiting
    assert slow.codes[Code.OK] == 20


async def test_sessions_are_opened_so_often_for_one_user_and_those_that_are_open_go_on(
    desk: Desk, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one RabbitMQ user for all, as in the simple mode."""
    await declared(desk)
    monkeypatch.setattr(admission, "STRANGERS_PER_SECOND", 10)
    known = await door.sender("everybody", mint(KEYS, desk.identity(), vault=VAULT))
    forged = Counter[str]()
    for number in range(100):
        sender = await door.sender("everybody", a_vault_token(OTHER_KEYS, token_id=f"{number}"))
        forged += sender.codes
    assert set(forged) == {"unopened", "overloaded"}
    await known.ask()
    assert known.codes == {"opened": 1, Code.OK: 1}


async def test_whoever_is_refused_without_end_is_answered_no_more_and_counted(
    desk: Desk, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declared(desk)
    monkeypatch.setattr(admission, "REFUSALS_AT_ONCE", 10)
    monkeypatch.setattr(admission, "REFUSALS_PER_SECOND", 0.001)
    rogue, honest = await door.sender("intern"), await door.sender("tracker")
    for _ in range(1000):
        await rogue.send(b"garbage")
    assert rogue.codes == {"opened": 1, "malformed": 10}
    dropped = 'dispenser_dropped_requests_total{door="amqp",why="malformed"} 990.0'
    assert dropped in door.metrics.exposition().decode()
    await honest.ask()
    assert honest.codes[Code.OK] == 1


async def test_a_request_whose_turn_does_not_come_in_time_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.dispenser, "admission", Admission(slots=1))
    identity = desk.identity()
    assert await admitted(desk, identity) is None
    late = await admitted(desk, identity, seconds=0.01)
    assert late is not None
    assert (late.code, late.reason) == (Code.OVERLOADED, admission.LATE)
    gone = asyncio.create_task(admitted(desk, identity))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    desk.dispenser.ended(identity)
    assert desk.dispenser.admission._lanes._lanes == {}


async def admitted(desk: Desk, identity: Identity, seconds: float = 5.0) -> Reply | None:
    return await desk.dispenser.admit(identity, 1, request_id="r", door="test", deadline_seconds=seconds)


async def test_the_http_door_says_429_and_when(desk: Desk, tmp_path: Path) -> None:
    await declared(desk, max_requests_per_second=1)
    metrics = Metrics()
    app = build_app(
        dispenser=desk.dispenser, store=desk.store, bus=desk.bus, cache=desk.cache, keys=KEYS,
        journal=desk.journal, settings=Settings(home=tmp_path), clock=desk.clock,
        entropy=secrets.token_bytes, metrics=metrics,
        workloads=cast("Any", None),  # nobody exchanges a token here
    )  # fmt: skip
    token = mint(KEYS, desk.identity(agent=AgentName("intern")), vault=VAULT)
    address = "/v1/agents/intern/credentials/time-tracker"
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vault") as client:
        answers = [await client.get(address, headers=headers) for _ in range(5)]
    codes = [answer.status_code for answer in answers]
    assert codes[0] == 200
    assert 429 in codes
    refused = answers[codes.index(429)]
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("rate_limited", "1")
    assert 'dispenser_replies_total{code="rate_limited",door="http"}' in metrics.exposition().decode()
    assert desk.dispenser.admission._lanes._lanes == {}


async def test_a_process_without_an_http_door_shows_its_metrics_on_a_port(desk: Desk, door: Door) -> None:
    await declared(desk)
    await (await door.sender("tracker")).ask()
    port = free_port()
    with door.metrics.served("127.0.0.1", port):
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'dispenser_replies_total{code="ok",door="amqp"} 1.0' in page
