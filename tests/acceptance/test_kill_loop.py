"""SIGKILL, again and again, at whatever moment, while grants of every kind rotate all the time.

No grant with a grace window or without rotation is lost. A strict one is lost only where the provider had
answered and the answer never reached the disk, and then its state, an event and an audit row tell.
DISPENSER_TEST_KILLS says how often (200); DISPENSER_TEST_SEED which moments.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import aio_pika
import pytest
from acceptance.installation import Installation

from dispenser import enrol
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.tokens import fingerprint
from shared import envelope, keyring
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.sql.store import SqlStore
from shared.keyring import for_role
from shared.model import EnrolmentState, Grant, GrantState, Owner, RefreshToken, ServiceName
from shared.topology import EVENTS_EXCHANGE

KILLS = int(os.environ.get("DISPENSER_TEST_KILLS", "200"))
SEED = int(os.environ.get("DISPENSER_TEST_SEED", "1"))
OWNERS = 8
REFRESHERS = 3
ACCESS_TOKEN_SECONDS = 4
LONGEST_PAUSE_SECONDS = 0.4
SETTLING_SECONDS = 60
STRICT = Behaviour(access_token_seconds=ACCESS_TOKEN_SECONDS, response_delay_seconds=0.02)
KINDS = {
    "strict": STRICT,
    "deny": replace(STRICT, on_reuse="deny"),
    "grace": replace(STRICT, grace_seconds=600),
    "stable": replace(STRICT, rotates=False),
}
MAY_BE_LOST = {"strict", "deny"}
IN_TROUBLE = {GrantState.UNKNOWN, GrantState.REAUTH_REQUIRED}


class Zygote:
    """Starts the vault's processes quickly."""

    def __init__(self, vault: Installation) -> None:
        self._vault = vault
        self._document = json.loads((vault.home / "vault" / "keys.json").read_text())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "acceptance.zygote"],
            env=vault.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, *arguments: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        role = arguments[-1]
        asked = {
            "arguments": arguments,
            "environment": {"DISPENSER_KEYS": json.dumps(for_role(self._document, role))},
            "log": str(self._vault.home / f"{role}.log"),
        }
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:  # closes its pipes, and waits
            os.killpg(self._process.pid, signal.SIGKILL)


@dataclass
class Member:
    """A process that is killed and replaced."""

    arguments: tuple[str, ...]
    pid: int


class Loop:
    """The vault, its providers, and what became of the killing."""

    def __init__(self, vault: Installation, providers: dict[str, Emulator], zygote: Zygote) -> None:
        self.vault = vault
        self.providers = providers
        self.zygote = zygote
        self.killed: Counter[str] = Counter()
        self.events: set[tuple[str, str, str]] = set()
        arguments = [("work", "refresher")] * REFRESHERS + [("work", "scheduler"), ("work", "janitor")]
        self.members = [Member(which, zygote.start(*which)) for which in arguments]

    async def kill(self, chance: random.Random) -> None:
        """One process, at a random moment, or while a provider has a request in hand."""
        member = chance.choices(self.members, weights=[5] * REFRESHERS + [1, 1])[0]
        await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
        if chance.random() < 0.5:
            await self._request()
            await asyncio.sleep(chance.uniform(0, 0.04))  # before, during or after the answer
        os.kill(member.pid, signal.SIGKILL)
        self.killed[member.arguments[-1]] += 1
        member.pid = self.zygote.start(*member.arguments)

    async def _request(self) -> None:
        before = self.calls()
        while self.calls() == before:  # noqa: ASYNC110 - the providers are in threads of their own
            await asyncio.sleep(0.002)

    def calls(self) -> int:
        return sum(provider.token_calls for provider in self.providers.values())


@pytest.fixture
def providers() -> Iterator[dict[str, Emulator]]:
    started = {name: Emulator(behaviour).start() for name, behaviour in KINDS.items()}
    yield started
    for provider in started.values():
        provider.stop()


@pytest.fixture
async def loop(installation: Installation, providers: dict[str, Emulator]) -> AsyncIterator[Loop]:
    secrets = {f"{name.upper()}_SECRET": provider.client_secret for name, provider in providers.items()}
    installation.declare(_declared(providers), **secrets)
    zygote = Zygote(installation)
    async with AsyncExitStack() as stack:
        stack.callback(zygote.close)
        loop = Loop(installation, providers, zygote)
        await stack.enter_async_context(_Listening(loop))
        await _connect(loop)
        yield loop


async def test_no_kill_loses_a_grant_but_in_the_stated_window(loop: Loop) -> None:
    chance = random.Random(SEED)
    for _ in range(KILLS):
        await loop.kill(chance)
    grants = await _settled(loop)
    lost = [grant for grant in grants if not _live(loop, grant)]
    rotations = sum(grant.generation for grant in grants)
    print(f"seed {SEED}: killed {dict(loop.killed)}, {rotations} rotations kept, {len(lost)} grants lost")

    assert len(grants) == OWNERS * len(KINDS)
    assert {grant.service for grant in lost} <= MAY_BE_LOST, [(g.service, g.owner, g.state) for g in lost]
    for grant in grants:
        if grant not in lost:
            assert grant.state not in IN_TROUBLE, grant
    records = loop.vault.shown("audit", "--limit", "100000")
    audited = {(record["service"], record["owner"]) for record in records if record["outcome"] != "ok"}
    told = {(service, owner) for service, owner, kind in loop.events if kind == "credential.reauth_required"}
    for grant in lost:
        assert grant.state in IN_TROUBLE, grant
        assert _was_answered(loop, grant), "lost outside the window"
        assert (grant.service, grant.owner) in audited & told


async def _settled(loop: Loop) -> list[Grant]:
    """The grants once nothing is open any more: every one has rotated again, or is in trouble."""
    store = SqlStore.open(loop.vault.environment["DISPENSER_DATABASE_URL"])
    try:
        async with asyncio.timeout(SETTLING_SECONDS):
            before = {grant.id: grant.generation for grant in await store.grants.select()}
            while True:
                grants = await store.grants.select()
                if all(_at_rest(grant, before[grant.id]) for grant in grants):
                    return grants
                await asyncio.sleep(0.2)
    finally:
        await store.close()


def _at_rest(grant: Grant, before: int) -> bool:
    return grant.state is GrantState.REAUTH_REQUIRED or (
        grant.state is GrantState.ACTIVE and grant.generation > before + 1
    )


def _keys(loop: Loop) -> keyring.Keyring:
    return keyring.parse((loop.vault.home / "vault" / "keys.json").read_text())


def _credential(loop: Loop, grant: Grant) -> str:
    credential = envelope.open_credential(_keys(loop), grant)
    assert isinstance(credential, RefreshToken)
    return credential.value


def _live(loop: Loop, grant: Grant) -> bool:
    """The provider takes the refresh token that the vault has, or has taken it and the vault is at it."""
    token = loop.providers[grant.service]._authority.tokens.refresh(_credential(loop, grant))
    assert token is not None
    return not token.family.revoked and grant.state not in IN_TROUBLE


def _was_answered(loop: Loop, grant: Grant) -> bool:
    """The provider has issued for the very token that the vault still has: what it issued never arrived."""
    mine = fingerprint(_credential(loop, grant))
    received = loop.providers[grant.service].requests
    return any(record.refresh_token == mine and record.outcome == "issued" for record in received)


def _declared(providers: dict[str, Emulator]) -> str:
    declared = ["providers:"]
    for name, provider in providers.items():
        kind = KINDS[name]
        rotation = (
            f"{{rotates: {str(kind.rotates).lower()}, grace_seconds: {int(kind.grace_seconds)}, "
            f"on_reuse: {kind.on_reuse}}}"
        )
        declared += [
            f"  {name}:",
            f"    authorization_url: {provider.authorization_url}",
            f"    token_url: {provider.token_url}",
            f"    client_id: {provider.client_id}",
            f"    client_secret: {{env: {name.upper()}_SECRET}}",
            "    insecure_local: true",
            f"    rotation: {rotation}",
        ]
    declared += ["services:", *(f"  {name}: {{provider: {name}}}" for name in providers)]
    return "\n".join(declared)


async def _connect(loop: Loop) -> None:
    """Every owner connects every service."""
    environment = loop.vault.environment
    store, bus = SqlStore.open(environment["DISPENSER_DATABASE_URL"]), AmqpBus(loop.vault.broker, name="test")
    try:
        await bus.start()
        enrolments = [
            await enrol.present(
                store,
                bus,
                _keys(loop),
                lambda: datetime.now(UTC),
                service=ServiceName(name),
                owner=Owner(f"owner-{number}"),
                presented=RefreshToken(value=provider.issue_refresh_token(f"owner-{number}")),
            )
            for name, provider in loop.providers.items()
            for number in range(OWNERS)
        ]
        for enrolment in enrolments:
            ended = await enrol.outcome(store, enrolment)
            assert ended is not None
            assert ended.state is EnrolmentState.DONE, ended
    finally:
        await bus.close()
        await store.close()


class _Listening:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    async def __aenter__(self) -> None:
        self._connection = await aio_pika.connect(self._loop.vault.broker)
        channel = await self._connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS_EXCHANGE, "credential.#")
        await queue.consume(self._hear, no_ack=True)

    async def __aexit__(self, *_error: object) -> None:
        await self._connection.close()

    async def _hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        self._loop.events.add((body["service"], body["owner"], str(message.routing_key)))
