"""The processes of the vault, as `dispenser.wiring` makes them, on simulated ports."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from simulation.bus_port import BusPort
from simulation.disk import Disk
from simulation.dispenser_ports import Askings, CachePort, JournalPort
from simulation.history import Answered, History
from simulation.network import Network, Watch
from simulation.process import BEGINNING, Process
from simulation.provider import SimulatedProvider
from simulation.provider_port import ProviderPort, Requests, WatchedSpool
from simulation.store_port import StorePort
from simulation.weather import Weather

from dispenser.catalogue_view import CatalogueView
from dispenser.dispense import Dispenser
from dispenser.protocol import RejectedCall, TokenCall
from dispenser.revocation_view import RevocationView
from dispenser.vault_token import Identity
from shared.adapters.memory_broker import MemoryBroker
from shared.adapters.memory_cache import MemoryCache
from shared.envelope import open_token
from shared.errors import VaultError
from shared.expiry import remaining_seconds
from shared.keyring import Keyring
from shared.model import AgentName, Owner, ServiceName, SessionId
from shared.ports import Clock, Store
from shared.store_clock import StoreClock
from workers.janitor import Janitor
from workers.refresher import Refresher
from workers.scheduler import Scheduler

Place = tuple[ServiceName, Owner]
SCHEDULER_SECONDS: Final = 8.0
#: Seconds between looks at the database's clock.
CLOCK_SECONDS: Final = 30.0
DEADLINE_SECONDS: Final = 10.0
#: Seconds between an agent's questions, on average.
PAUSE_SECONDS: Final = 40.0
AGENT: Final = AgentName("agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all processes share."""

    store: Store
    broker: MemoryBroker
    cache: MemoryCache
    providers: Mapping[str, SimulatedProvider]
    keys: Keyring
    network: Network
    weather: Weather
    requests: Requests
    history: History
    watch: Watch
    places: tuple[Place, ...]
    agents: int
    #: The true time, which the database's machine has.
    clock: Clock


@dataclass(slots=True)
class Member:
    """One process and those that come after it under its name."""

    name: str
    disk: Disk
    process: Process = field(init=False)
    bus: BusPort = field(init=False)
    #: Ends it in good order; None where being killed is that.
    drain: Callable[[], Awaitable[None]] | None = None

    @property
    def role(self) -> str:
        return self.name.partition("-")[0]

    def born(self, world: World) -> None:
        """A new process of this name."""
        self.process = Process(self.name)
        self.bus = BusPort(world.broker, world.network, self.process, world.weather)
        self.drain = None

    def store(self, world: World) -> StorePort:
        return StorePort(world.store, world.network, self.process, world.history, clock=world.clock)

    async def clock(self, store: StorePort) -> StoreClock:
        """The database's time, looked at now and then."""
        clock = StoreClock(store.now, asyncio.get_running_loop().time, own=self.process.clock)
        await _until_it_answers(clock.look)
        asyncio.get_running_loop().create_task(_keep_looking(clock))
        return clock


async def work(member: Member, world: World, chance: random.Random) -> None:
    """What a member does for as long as it lives."""
    match member.role:
        case "refresher":
            await _refresh(member, world, chance)
        case "scheduler":
            store = member.store(world)
            await Scheduler(store, member.bus, await member.clock(store), SCHEDULER_SECONDS).run()
        case "janitor":
            store, cache = member.store(world), CachePort(world.cache, world.network, Askings())
            await Janitor(store, member.bus, cache, await member.clock(store), member.name).run()
        case _:
            await _dispense(member, world, chance)


async def _refresh(member: Member, world: World, chance: random.Random) -> None:
    store = member.store(world)
    worker = Refresher(
        store=store,
        bus=member.bus,
        cache=CachePort(world.cache, world.network, Askings()),
        http=ProviderPort(
            world.providers, world.network, world.weather, world.requests, world.history, world.watch
        ),
        keys=world.keys,
        spool=WatchedSpool(member.disk, world.requests, world.history),
        clock=await member.clock(store),
        entropy=chance.random,
        name=member.name,
        public_url="https://vault.example",
    )
    member.drain = worker.drain
    await worker.start()


async def _dispense(member: Member, world: World, chance: random.Random) -> None:
    store, askings = member.store(world), Askings()
    catalogue, clock = CatalogueView(store.catalogue), await member.clock(store)
    await _until_it_answers(catalogue.look)
    dispenser = Dispenser(
        store=store,
        cache=CachePort(world.cache, world.network, askings),
        bus=member.bus,
        keys=world.keys,
        catalogue=catalogue,
        revocations=RevocationView(store.revocations, clock),
        journal=JournalPort(world.network, askings),
        clock=clock,
        vault="vault",
        connect_url=lambda service, owner: f"https://vault.example/{service}/{owner}",
        new_id=lambda: "id",
    )
    desk = Desk(member, world, dispenser, askings, clock)
    async with asyncio.TaskGroup() as agents:
        for number in range(world.agents):
            agents.create_task(desk.serve_for_ever(random.Random(chance.random()), number))
        desks[member.name] = desk


#: The desks of the run under way, by process.
desks: dict[str, "Desk"] = {}


async def _keep_looking(clock: StoreClock) -> None:
    while True:
        await asyncio.sleep(CLOCK_SECONDS)
        with suppress(VaultError):
            await clock.look()


async def _until_it_answers(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await look()
        except VaultError:
            await asyncio.sleep(1.0)


@dataclass(frozen=True, slots=True)
class Desk:
    """Agents at one dispenser."""

    member: Member
    world: World
    dispenser: Dispenser
    askings: Askings
    #: The dispenser's.
    clock: Clock

    async def serve_for_ever(self, chance: random.Random, number: int) -> None:
        """One agent, asking now and then."""
        last: dict[Place, int] = {}
        while True:
            await asyncio.sleep(chance.expovariate(1 / PAUSE_SECONDS))
            place = chance.choice(self.world.places)
            if place in last and chance.random() < 0.05:
                await self.reject(place, last.pop(place), number)
                continue
            generation = await self.ask(place, chance.choice((None, None, 5.0, 45.0)), number)
            if generation is not None:
                last[place] = generation

    async def ask(self, place: Place, min_ttl: float | None, number: int) -> int | None:
        """Ask for a token, write down what came of it, and return its generation."""
        history, clock = self.world.history, self.world.clock
        asked_at, asking = history.now(), self.askings.begin()
        call = TokenCall(service=place[0], owner=place[1], min_ttl=min_ttl)
        reply = await self.dispenser.answer(
            _identity(place, number), call, request_id="r", door="http", deadline_seconds=DEADLINE_SECONDS
        )
        self.askings.end()
        expires = None if reply.expires_at is None else reply.expires_at - clock().timestamp()
        history.add(
            Answered,
            asked_at=asked_at,
            process=self.member.name,
            place=place,
            code=reply.code.value,
            token=reply.access_token or "",
            generation=reply.generation,
            remaining=expires,
            min_ttl=min_ttl,
            cached_life=self._life(place, asking.cached),
            audited=asking.audited,
            journal_failed=asking.journal_failed,
        )
        return reply.generation if reply.access_token else None

    async def reject(self, place: Place, generation: int, number: int) -> None:
        """Report that an API refused a token."""
        call = RejectedCall(service=place[0], owner=place[1], generation=generation)
        await self.dispenser.answer(
            _identity(place, number), call, request_id="r", door="http", deadline_seconds=DEADLINE_SECONDS
        )

    def _life(self, place: Place, sealed: bytes | None) -> float | None:
        if not sealed:
            return None
        token = open_token(self.world.keys, *place, sealed)
        return remaining_seconds(token.expires_at, self.clock())


def _identity(place: Place, number: int) -> Identity:
    return Identity(
        agent=AGENT,
        session=SessionId(f"session-{number}"),
        owner=place[1],
        token_id="jti",
        issued_at=BEGINNING,
        expires_at=BEGINNING + timedelta(days=1),
    )
