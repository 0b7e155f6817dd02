"""A client that has every right at the broker and none at the vault: it gets nothing, and breaks nothing.

It reads what is on the way, repeats it, alters it, answers in the vault's name and asks in others' names,
while honest agents are at work on the same broker.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from acceptance.declared import declared
from acceptance.installation import Installation
from acceptance.working_agents import working

from dispenser import Denied, Vault, sealed_frame
from dispenser.protocol import REPLY_PREFIX, RPC_EXCHANGE, RPC_KEY
from dispenser.sealed_frame import Kind
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

FORGED = 20_000
MISADDRESSED = 1_000
ALTERED = 1_000
#: Published at once, so that neither side's memory is what is tested.
AT_ONCE = 500
PATIENCE_SECONDS = 60.0
CRAFTED = (
    "",
    "amq.rabbitmq.reply-to.abc.def",
    "amq.rabbitmq.reply-to.g1h2AA5yZXBseUAzNzAyNDA0NgAAC.AAAA==",
    "vault.rpc.token",
    "vault.refresh.due",
    "vault.refresh.urgent",
    "vault.refresh.dead",
    f"{REPLY_PREFIX}tracker.{'0' * 32}",
    f"{REPLY_PREFIX}guest.{'0' * 31}",
    f"{REPLY_PREFIX}guest.{'0' * 32}\n",
    f"{REPLY_PREFIX}guest.{'x' * 200}",
)


class Rogue:
    """Reads a copy of every request, and has a reply queue of its own."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.captured: list[aio_pika.abc.AbstractIncomingMessage] = []
        self.received: list[bytes] = []
        self.queue = f"{REPLY_PREFIX}guest.{secrets.token_hex(16)}"
        self._enough = asyncio.Event()

    async def open(self) -> None:
        mine = await self._channel.declare_queue(self.queue, exclusive=True)
        await mine.consume(self._receive, no_ack=True)
        tap = await self._channel.declare_queue(exclusive=True)
        await tap.bind(RPC_EXCHANGE, RPC_KEY)
        await tap.consume(self._capture, no_ack=True)
        self._rpc = await self._channel.get_exchange(RPC_EXCHANGE, ensure=False)

    async def _receive(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.received.append(message.body)

    async def _capture(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        if message.reply_to != self.queue and len(self.captured) < 200:
            self.captured.append(message)
            self._enough.set() if len(self.captured) >= 20 else None

    async def listen(self) -> None:
        """Returns once it has read enough."""
        await asyncio.wait_for(self._enough.wait(), PATIENCE_SECONDS)

    def requests(self) -> list[bytes]:
        """Requests in sessions that it has read on the way."""
        return [m.body for m in self.captured if sealed_frame.kind(m.body) is Kind.REQUEST]

    async def ask(self, body: bytes, **properties: Any) -> None:
        """Send a request, as itself unless told otherwise."""
        honest = {
            "reply_to": self.queue,
            "correlation_id": sealed_frame.identifier(body),
            "user_id": "guest",
            "expiration": 30,
        }
        await self._rpc.publish(aio_pika.Message(body, **honest | properties), RPC_KEY, mandatory=False)

    async def forge(self, number: int) -> None:
        """Answer in the vault's name, to whomever it has heard asking."""
        for start in range(0, number, AT_ONCE):
            asked = [self.captured[(start + i) % len(self.captured)] for i in range(AT_ONCE)]
            await asyncio.gather(*(self._answer(message, start + i) for i, message in enumerate(asked)))

    async def _answer(self, asked: aio_pika.abc.AbstractIncomingMessage, number: int) -> None:
        forms = (
            sealed_frame.header(Kind.REPLIES) + secrets.token_bytes(200),
            sealed_frame.header(Kind.OPENED) + secrets.token_bytes(200),
            sealed_frame.header(Kind.KEYSET) + b"\x01" + secrets.token_bytes(200),
            secrets.token_bytes(number % 300),
        )
        answer = aio_pika.Message(forms[number % len(forms)], correlation_id=asked.correlation_id)
        await self._channel.default_exchange.publish(answer, str(asked.reply_to), mandatory=False)


@asynccontextmanager
async def rogue_at(broker: str) -> Any:
    async with await aio_pika.connect(broker) as connection:
        rogue = Rogue(await connection.channel(publisher_confirms=False))
        await rogue.open()
        yield rogue


@pytest.fixture
def provider() -> Iterator[Emulator]:
    with Emulator(Behaviour(access_token_seconds=3600)) as emulator:
        yield emulator


@pytest.fixture
def vault(installation: Installation, provider: Emulator) -> Installation:
    """At work, with one grant."""
    installation.declare(
        declared(
            authorization_url=provider.authorization_url,
            token_url=provider.token_url,
            client_id=provider.client_id,
        ),
        PROVIDER_SECRET=provider.client_secret,
    )
    installation.start("work", "refresher")
    token = provider.issue_refresh_token("ada", ("tasks:write",))
    installation.done("grant", "import", "time-tracker", "--owner", "ada", stdin=token)
    return installation


async def test_a_rogue_client_gets_nothing_breaks_nothing_and_is_in_the_audit(vault: Installation) -> None:
    dispenser = vault.start("serve")
    sessions = [(vault.broker, vault.agent_token("tracker", "ada"), "time-tracker")] * 4
    async with working(*sessions) as agents, rogue_at(vault.broker) as rogue:
        await rogue.listen()
        await agents.go_on(20)
        await rogue.forge(FORGED)
        await agents.go_on(20)
        await repeated(rogue)
        await misaddressed(rogue)
        await altered(rogue)
        await hostile(rogue)
        await agents.go_on(20)
        await greedy(vault)
        await agents.go_on(20)

        assert set(agents.outcomes) == {"ok"}
        assert dispenser._process.poll() is None
        async with Vault(vault.broker, sessions[0][1]) as asking:
            token = (await asking.token("time-tracker")).value
    on_the_way = [message.body for message in rogue.captured] + rogue.received
    assert not [body for body in on_the_way if token.encode() in body]
    # What it was told itself are refusals, and the public keys that anybody may ask for.
    assert {sealed_frame.kind(body) for body in rogue.received} <= {Kind.REFUSAL, Kind.KEYSET}

    assert dispenser.stop() == 0
    check_audit(vault.shown("audit", "--limit", "100000"))


def check_audit(records: Sequence[dict[str, Any]]) -> None:
    """Every kind of mischief is in it, and none of it fills a disk."""
    refused = [record for record in records if record["action"] == "request.refused"]
    assert all("guest" in record["reason"] or "nobody" in record["reason"] for record in refused)
    for said in ("reply address", "altered", "more like this were counted"):
        assert any(said in record["reason"] for record in refused), said
    assert len(refused) < (MISADDRESSED + ALTERED) / 2
    denied = [record for record in records if record["outcome"] == "denied"]
    assert {record["agent"] for record in denied} == {"intern"}


async def repeated(rogue: Rogue) -> None:
    """What it has read, again: as itself, and to whom the answer was meant for."""
    for message in rogue.captured:
        await rogue.ask(message.body)
        await rogue.ask(message.body, reply_to=message.reply_to)


async def misaddressed(rogue: Rogue) -> None:
    [body, *_] = rogue.requests()
    for number in range(MISADDRESSED):
        await rogue.ask(body, reply_to=CRAFTED[number % len(CRAFTED)])


async def altered(rogue: Rogue) -> None:
    bodies = rogue.requests()
    for number in range(ALTERED):
        body = bytearray(bodies[number % len(bodies)])
        body[secrets.randbelow(len(body))] ^= 1 << number % 8
        # Under its own id, and under that of what it was made of.
        await rogue.ask(bytes(body))
        if number % 10 == 0:
            await rogue.ask(bytes(body), correlation_id=sealed_frame.identifier(bodies[0]))


async def hostile(rogue: Rogue) -> None:
    """Properties and bodies of no honest client."""
    [body, *_] = rogue.requests()
    for changes in (
        {"user_id": None},
        {"correlation_id": None},
        {"correlation_id": "x" * 255},
        {"correlation_id": "'; DROP TABLE grants; --"},
        {"content_type": "application/x-python-pickle", "content_encoding": "gzip"},
        {"headers": {"attempt": "x" * 10_000, "x-death": [{"count": 2**62}]}},
        {"priority": 255, "delivery_mode": 2, "type": "x" * 255, "app_id": "vault", "message_id": ""},
        {"expiration": 0.001},
    ):
        for content in (body, b"", secrets.token_bytes(100_000)):
            await rogue.ask(content, **changes)


async def greedy(vault: Installation) -> None:
    """A vault token of its own, with which it may have nothing."""
    async with Vault(vault.broker, vault.agent_token("intern", "ada")) as asking:
        for service in ("time-tracker", "slack-post", "no-such-service"):
            with pytest.raises(Denied):
                await asking.token(service)
            with pytest.raises(Denied):
                await asking.token(service, owner="grace")
