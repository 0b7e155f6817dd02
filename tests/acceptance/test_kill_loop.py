"""SIGKILL, again and again, at whatever moment, while grants of every kind rotate all the time.

No grant with a grace window or without rotation is lost. A strict one is lost only where the provider had
answered and the answer never reached the disk, and then its state, an event and an audit row tell.
DISPENSER_TEST_KILLS says how often (200; `make soak`: 10,000), DISPENSER_TEST_SEED which moments. A loop
waits most of the time: a soak's kills are divided among loops, each with a vault and a seed of its own.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from acceptance.installation import Installation
from acceptance.kill_loop import KillLoop, Zygote
from acceptance.working_agents import working

from dispenser import Vault, VaultError, enrol
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.tokens import fingerprint, standing
from shared import envelope
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.sql.store import SqlStore
from shared.audit_filter import AuditFilter
from shared.messages import EventType
from shared.model import EnrolmentState, Grant, GrantId, GrantState, Owner, RefreshToken, ServiceName
from shared.secret import Secret
from shared.topology import EVENTS_EXCHANGE

KILLS = int(os.environ.get("DISPENSER_TEST_KILLS", "200"))
SEED = int(os.environ.get("DISPENSER_TEST_SEED", "1"))
#: Kills of one loop.
LOOP = 500
#: Kills after which all comes to rest and is judged, and owners whose grants are lost connect again.
ROUND = 100
OWNERS = [f"owner-{number}" for number in range(10)]
#: Longer than a grant stays unlucky: one whose every repetition is killed for 30 s outlives no grace of 30 s.
GRACE_SECONDS = 600
STRICT = Behaviour(access_token_seconds=6, response_delay_seconds=0.02)
KINDS = {
    "strict": STRICT,
    "deny": replace(STRICT, on_reuse="deny"),
    "grace": replace(STRICT, grace_seconds=GRACE_SECONDS),
    "stable": replace(STRICT, rotates=False),
}
SINGLE_USE = {"strict", "deny"}
IN_TROUBLE = {GrantState.UNKNOWN, GrantState.REAUTH_REQUIRED}
TROUBLES = (EventType.REFRESH_FAILED, EventType.REAUTH_REQUIRED)
#: Seconds after the last kill within which every loss is on record.
RECORDED_SECONDS = 30
#: In which one more grant comes to rest: longer than one waits whose announcement died with all who had it.
SETTLING_SECONDS = 180


class Scene:
    """A vault under fire, its providers, and what it says of its grants."""

    def __init__(self, loop: KillLoop, store: SqlStore, bus: AmqpBus) -> None:
        self.loop = loop
        self.store = store
        self.bus = bus
        self.lost: Counter[str] = Counter()
        #: Of every grant ever lost, the credential that the vault was left with; by service.
        self._spent: dict[str, set[str]] = defaultdict(set)
        #: When an event first told of a grant's trouble, by service, owner and generation.
        self._told: dict[tuple[str, str, int], datetime] = {}

    async def connect(self, *places: tuple[str, str]) -> None:
        """These owners connect these services."""
        enrolments = [await self._present(service, owner) for service, owner in places]
        for enrolment in enrolments:
            ended = await enrol.outcome(self.store, enrolment, patience_seconds=SETTLING_SECONDS)
            assert ended is not None
            assert ended.state is EnrolmentState.DONE, ended

    async def settle(self, asking: Vault) -> None:
        """Returns once every grant has rotated since, or has come to an end, or stays in doubt."""
        before = {grant.id: grant.generation for grant in await self.store.grants.select()}
        fewest, until = len(before) + 1, 0.0
        while restless := await self._restless(before):
            if len(restless) < fewest:
                fewest, until = len(restless), time.monotonic() + SETTLING_SECONDS
            assert time.monotonic() < until, [await self._history(grant) for grant in restless]
            # An agent that asks for a token has an expired one renewed, whoever was to announce it.
            await asyncio.gather(*(_ask(asking, grant) for grant in restless))

    async def judge(self, healed_at: datetime) -> list[Grant]:
        """Hold every grant to the promise; those that are lost."""
        grants = await self.store.grants.select()
        assert len(grants) == len(KINDS) * len(OWNERS)
        lost = [grant for grant in grants if not self._works(grant)]
        for grant in lost:
            assert grant.service in SINGLE_USE, await self._history(grant)
            assert grant.state in IN_TROUBLE, await self._history(grant)
            assert self._was_answered(grant), f"lost without an answer: {await self._history(grant)}"
            kept = (grant.id, grant.generation) in self.loop.kept
            assert not kept, f"lost, but was on the disk: {await self._history(grant)}"
            recorded_at = await self._recorded_at(grant)
            assert recorded_at < healed_at + timedelta(seconds=RECORDED_SECONDS), await self._history(grant)
            self.lost[grant.service] += 1
            self._spent[grant.service].add(fingerprint(self._credential(grant)))
        assert GrantState.REAUTH_REQUIRED not in {grant.state for grant in grants if grant not in lost}
        self._judge_requests()
        return lost

    def story(self) -> str:
        """What was done, and what came of it."""
        issued = {
            name: sum(seen.outcome in {"issued", "replayed"} for seen in provider.requests)
            for name, provider in self.loop.providers.items()
        }
        return (
            f"killed {dict(self.loop.killed)}; tokens issued {issued}; "
            f"on the disk after a kill {len(self.loop.kept)}; grants lost {dict(self.lost)}"
        )

    async def hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        self._told.setdefault((body["service"], body["owner"], body["generation"]), datetime.now(UTC))

    def _judge_requests(self) -> None:
        """Of single-use tokens only lost ones are sent again, and none while its request is in hand."""
        for name in SINGLE_USE:
            provider = self.loop.providers[name]
            reused = {seen.refresh_token for seen in provider.requests if seen.outcome == "reused"}
            assert reused <= self._spent[name], name
            assert provider.overlaps == 0, name

    def _works(self, grant: Grant) -> bool:
        """The provider will take the refresh token that the vault has."""
        provider = self.loop.providers[grant.service]
        token = provider._authority.tokens.refresh(self._credential(grant))
        assert token is not None
        return standing(token, provider.behaviour, time.time()) == "fresh"

    def _was_answered(self, grant: Grant) -> bool:
        """The provider has issued for the very token that the vault still has: what it issued is lost."""
        mine = fingerprint(self._credential(grant))
        received = self.loop.providers[grant.service].requests
        return any(seen.refresh_token == mine and seen.outcome == "issued" for seen in received)

    async def _recorded_at(self, grant: Grant) -> datetime:
        """When both an event and an audit row of a grant's trouble were written."""
        place = (grant.service, grant.owner, grant.generation)
        async with asyncio.timeout(RECORDED_SECONDS):
            while not (audited := await self._audited(grant)):  # noqa: ASYNC110 - a database tells nobody
                await asyncio.sleep(0.1)
            while place not in self._told:  # noqa: ASYNC110 - nor does a dictionary
                await asyncio.sleep(0.1)
        return max(min(audited), self._told[place])

    async def _audited(self, grant: Grant) -> list[datetime]:
        rows = await self.store.audit.query(_about(grant), limit=100_000)
        mine = ("grant.refresh_failed", grant.generation)
        return [row.at for row in rows if (row.action, row.generation) == mine]

    async def _restless(self, before: dict[GrantId, int]) -> list[Grant]:
        under_way = {intent.grant_id for intent in await self.store.rotations.open_intents()}
        return [
            grant
            for grant in await self.store.grants.select()
            if grant.id in under_way or not _at_rest(grant, before[grant.id])
        ]

    async def _history(self, grant: Grant) -> str:
        """What provider and vault say of a grant, in order."""
        provider = self.loop.providers[grant.service]
        tokens = provider._authority.tokens
        family = tokens.family_of(self._credential(grant))
        mine = {fingerprint(token.value) for token in tokens._refresh.values() if token.family is family}
        seen = [
            (datetime.fromtimestamp(call.at, UTC), f"provider: {call.outcome} {call.refresh_token}")
            for call in provider.requests
            if call.refresh_token in mine
        ]
        rows = await self.store.audit.query(_about(grant), limit=100_000)
        told = [
            (row.at, f"vault: {row.action} {row.outcome} {row.generation} {row.reason}")
            for row in rows
            if row.action.startswith("grant.")
        ]
        lines = [f"{at:%H:%M:%S.%f} {text}" for at, text in sorted(seen + told)]
        return "\n".join([f"{grant.service} of {grant.owner}: {grant.state}", *lines])

    def _credential(self, grant: Grant) -> str:
        credential = envelope.open_credential(self.loop.keys, grant)
        assert isinstance(credential, RefreshToken)
        return credential.value.reveal()

    async def _present(self, service: str, owner: str) -> str:
        catalogue = await self.store.catalogue.load()
        return await enrol.present(
            self.store,
            self.bus,
            self.loop.keys,
            lambda: datetime.now(UTC),
            service=ServiceName(service),
            owner=Owner(owner),
            presented=RefreshToken(value=Secret(self.loop.providers[service].issue_refresh_token(owner))),
            client=catalogue.providers[catalogue.services[ServiceName(service)].provider].client,
        )


async def _ask(asking: Vault, grant: Grant) -> None:
    with suppress(VaultError):
        await asking.token(grant.service, owner=grant.owner)
    await asyncio.sleep(0.2)


def _at_rest(grant: Grant, before: int) -> bool:
    match grant.state:
        case GrantState.ACTIVE:
            return grant.generation > before
        case GrantState.UNKNOWN:
            return grant.service in SINGLE_USE
        case state:
            return state is GrantState.REAUTH_REQUIRED


@pytest.fixture
def providers() -> Iterator[dict[str, Emulator]]:
    started = {name: Emulator(behaviour).start() for name, behaviour in KINDS.items()}
    yield started
    for provider in started.values():
        provider.stop()


@pytest.fixture
async def scene(
    seed: int, installation: Installation, providers: dict[str, Emulator]
) -> AsyncIterator[Scene]:
    secrets = {f"{name.upper()}_SECRET": provider.client_secret for name, provider in providers.items()}
    installation.declare(_declared(providers), **secrets)
    store = SqlStore.open(installation.database)
    bus = AmqpBus(installation.broker, name="test")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.push_async_callback(bus.close)
        await bus.start()
        zygote = Zygote(installation)
        stack.callback(zygote.close)
        scene = Scene(KillLoop(installation, providers, zygote, random.Random(seed)), store, bus)
        connection = await stack.enter_async_context(await aio_pika.connect(installation.broker))
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        for trouble in TROUBLES:
            await queue.bind(EVENTS_EXCHANGE, trouble.value)
        await queue.consume(scene.hear, no_ack=True)
        yield scene


# "::" makes a loop a scope of its own to xdist, which otherwise keeps a file's tests on one worker.
@pytest.mark.parametrize(
    ("seed", "kills"),
    [
        pytest.param(SEED + number, min(LOOP, KILLS - first), id=f"seed {SEED + number}::")
        for number, first in enumerate(range(0, KILLS, LOOP))
    ],
)
@pytest.mark.timeout(600 + 6 * LOOP)  # on the busiest of machines; every wait in it has a bound of its own
async def test_no_kill_loses_a_grant_but_in_the_stated_window(scene: Scene, seed: int, kills: int) -> None:
    loop = scene.loop
    vault_token = loop.vault.agent_token("worker", OWNERS[0], "24h")
    loop.start()
    await scene.connect(*[(service, owner) for service in KINDS for owner in OWNERS])
    sessions = [(loop.vault.broker, vault_token, service) for service in ("strict", "grace")]
    async with Vault(loop.vault.broker, vault_token) as asking, working(*sessions) as agents:
        while loop.killed.total() < kills:
            await loop.kill(min(ROUND, kills - loop.killed.total()))
            healed_at = datetime.now(UTC)
            await scene.settle(asking)
            async with loop.quiet():
                lost = await scene.judge(healed_at)
                print(f"seed {seed}: {scene.story()}; agents heard {dict(agents.outcomes)}", flush=True)
            await scene.connect(*[(grant.service, grant.owner) for grant in lost])


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
    declared += ["agents:", '  worker: {description: "never rests"}', "policies:"]
    declared += ['  - {name: all, effect: allow, agents: [worker], services: ["*"], owners: ["*"]}']
    return "\n".join(declared)


def _about(grant: Grant) -> AuditFilter:
    return AuditFilter(service=grant.service, owner=grant.owner)
