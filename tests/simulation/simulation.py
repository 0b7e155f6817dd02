"""One run: the vault's own code above its ports, on virtual time, in a world that mistreats it."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from unittest.mock import patch

import structlog
from simulation import foundation
from simulation.disk import Disk, spools_on_simulated_disks
from simulation.history import Announced, Ending, Fault, FinalGrant, Happened, History, Said, Unhandled
from simulation.loop import SimulatedLoop
from simulation.member import Member, World, desks, work
from simulation.network import Network, at_once
from simulation.plan import Plan, Strike, plan
from simulation.process import BEGINNING, CURRENT, Killed, Process
from simulation.provider import SimulatedProvider
from simulation.provider_port import Requests
from simulation.store_port import row_of
from simulation.weather import Weather

from dispenser import refresh_wait
from shared.adapters.memory_broker import MemoryBroker
from shared.adapters.memory_cache import MemoryCache
from shared.audit_filter import AuditFilter
from shared.envelope import open_credential
from shared.errors import SealBroken
from shared.messages import EventType
from shared.model import Grant, GrantId, GrantKind, GrantState, Owner, RefreshToken, ServiceName
from shared.ports import Delivery
from workers import heartbeat, janitor, spool_file

STEP_SECONDS: Final = 3600.0
#: Seconds after which a process that is asked to end is killed.
DRAIN_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 5.0
#: Later than any clock of a run, however wrong.
FAR_OFF: Final = BEGINNING + timedelta(days=365)
#: How the vault's log tells of a defect.
UNEXPECTED: Final = "Unexpected error"
#: Seconds within which everything has to settle once nothing goes wrong any more.
HEALING_SECONDS: Final = 1500.0


def run(seed: int, *, tell_all: bool = False) -> History:
    """The history of a seed's run. `tell_all`: with everything that the processes log."""
    return Simulation(plan(seed), tell_all=tell_all).run()


class Simulation:
    """A plan's run."""

    def __init__(self, plan: Plan, *, tell_all: bool) -> None:
        self._plan = plan
        self._tell_all = tell_all
        self._chance = random.Random(f"faults {plan.seed}")
        self._outside = Process("world")
        self._loop = SimulatedLoop(random.Random(f"schedule {plan.seed}").random, self._outside)
        self._loop.set_exception_handler(self._unhandled)
        self.history = History(self._loop.time)
        self._weather = Weather(
            self._chance, dict(plan.rates), plan.slow_rate, plan.disk_rate, told=self._faulty
        )
        self._loop.blocking_seconds = lambda: self._chance.random() * 0.004
        self._strikes = _by_place(plan.strikes)
        self._tokens: dict[tuple[GrantId, bytes], str] = {}
        self._healing = self._inherited = False
        self._world = self._made_world()
        self._members = {name: Member(name, Disk(name, self._syscall)) for name in plan.processes}

    def run(self) -> History:
        """All of it, from first to last."""
        with ExitStack() as stack:
            stack.enter_context(spools_on_simulated_disks())
            stack.enter_context(foundation.numbered_intents())
            stack.enter_context(_unhurried())
            stack.enter_context(_logs_to(self._said))
            stack.callback(self._close_store)
            stack.callback(self._loop.dispose)
            stack.callback(desks.clear)
            main = self._loop.create_task(self._course(), context=self._outside.context)
            self._loop.run_until_complete(main)
        return self.history

    def _close_store(self) -> None:
        at_once(self._world.store.close())

    # ------------------------------------------------------------------------------------------ the course

    async def _course(self) -> None:
        foundation.lay(self._world, self._plan)
        for name in self._members:
            self._start(name)
        self._arrange()
        await asyncio.sleep(self._plan.seconds)
        self._heal()
        waits_for = self._unsettled()
        until = self._loop.time() + HEALING_SECONDS
        while waits_for and self._loop.time() < until:
            await asyncio.sleep(LOOK_SECONDS)
            waits_for = self._unsettled()
        self.history.add(
            Ending, settled=not waits_for, unsettled=tuple(waits_for), grants=tuple(self._final_grants())
        )

    def _arrange(self) -> None:
        plan, later = self._plan, self._world.network.later
        for blow in plan.blows:
            later(blow.at, self._hit, blow.process, blow.deed, blow.seconds)
        for at, port, seconds in plan.outages:
            later(at, self._outage, port, seconds)
        for at in plan.flushes:
            later(at, self._flush)
        for at, provider, seconds in plan.unknown_client:
            later(at, self._forget_client, provider, seconds)
        for at, account in plan.reconnections:
            later(at, foundation.reconnect, self._world, plan.accounts[account])
        for at, account in plan.revocations:
            later(at, foundation.revoke, self._world, plan.accounts[account])
        if plan.crowd:
            later(self._chance.random() * plan.seconds, self._crowd)

    def _heal(self) -> None:
        """From here on nothing goes wrong, everybody is back, and every clock is right."""
        self._healing = True
        self.history.add(Happened, what="healing")
        self._weather.clear_up()
        self._strikes.clear()
        for provider in self._world.providers.values():
            provider.refuses_client = False
        for name, member in self._members.items():
            member.process.clock_off = 0.0
            if member.process.paused:
                self._resume(member.process)
            if not member.process.alive and name != self._plan.leaver:
                self._start(name)
        self._inherit()

    def _inherit(self) -> None:
        """What a refresher left that never came back, another one adopts when it starts."""
        leaver, heir = self._members.get(self._plan.leaver), self._members["refresher-1"]
        if leaver is not None and not leaver.process.alive and not self._inherited:
            self._inherited = True
            self._kill(heir, 0.0)
            heir.disk.adopt(leaver.disk)
            self._start(heir.name)

    # ------------------------------------------------------------------------------------------- processes

    def _start(self, name: str) -> None:
        member = self._members[name]
        member.born(self._world)
        self.history.add(Happened, what="started", process=name)
        chance = random.Random(self._chance.random())
        member.process.context.run(self._loop.create_task, self._lived(member, chance), name=name)

    async def _lived(self, member: Member, chance: random.Random) -> None:
        try:
            await work(member, self._world, chance)
        except Exception as error:  # noqa: BLE001 - the checker minds
            self.history.add(Unhandled, process=member.name, error=repr(error))

    def _watch(self, process: Process, place: str, moment: str) -> None:
        for strike in self._strikes.get((place, moment), ()):
            strike.left -= 1
            if strike.left == 0 and process.running and process.name in self._members:
                self._hit(process.name, strike.plan.deed, strike.plan.seconds)

    def _hit(self, name: str, deed: str, seconds: float) -> None:
        member = self._members[name]
        if not member.process.running or self._healing:
            return
        match deed:
            case "kill" | "cut power":
                self._kill(member, seconds, power=deed == "cut power")
            case "pause":
                self.history.add(Happened, what="paused", process=name)
                self._loop.pause(member.process)
                self._world.network.later(seconds, self._resume, member.process)
            case "sever":
                self.history.add(Happened, what="severed", process=name)
                member.bus.sever()
            case "drain":
                self._ask_to_end(member, seconds)
            case "step":
                self._step(member.process, seconds)
            case _:
                self._outage("store", seconds)

    def _kill(self, member: Member, seconds: float, *, power: bool = False) -> None:
        self.history.add(Happened, what="killed", process=member.name, detail="power cut" if power else "")
        self._loop.kill(member.process)
        desks.pop(member.name, None)
        if power:
            member.disk.cut_power(self._chance)
        later = self._world.network.later
        later(self._weather.seconds(), member.bus.lose)
        later(seconds, self._return, member.name, member.process)

    def _return(self, name: str, gone: Process) -> None:
        if self._members[name].process is not gone:
            return
        if name != self._plan.leaver:
            self._start(name)
        elif self._healing:
            self._inherit()

    def _resume(self, process: Process) -> None:
        if process.paused:
            self.history.add(Happened, what="resumed", process=process.name)
            self._loop.resume(process)

    def _ask_to_end(self, member: Member, seconds: float) -> None:
        process = member.process

        async def end() -> None:
            if member.drain is not None:
                await member.drain()
            self._world.network.later(0.0, gone)

        def gone() -> None:
            if process.alive:
                self._kill(member, 0.0 if self._healing else seconds)

        self.history.add(Happened, what="asked to end", process=member.name)
        process.context.run(self._loop.create_task, end())
        self._world.network.later(DRAIN_SECONDS, gone)

    def _step(self, process: Process, seconds: float) -> None:
        process.clock_off = self._chance.choice((-STEP_SECONDS, STEP_SECONDS))
        self.history.add(
            Happened, what="clock stepped", process=process.name, detail=f"{process.clock_off:+.0f}"
        )
        self._world.network.later(seconds, self._set_right, process)

    def _set_right(self, process: Process) -> None:
        if process.clock_off and process.alive:
            process.clock_off = 0.0
            self.history.add(Happened, what="clock stepped", process=process.name, detail="right")

    # ------------------------------------------------------------------------------------------- the world

    def _made_world(self) -> World:
        plan = self._plan
        network = Network(self._loop, self._outside, self._weather, self._watch)
        broker = MemoryBroker()
        broker.subscribe("credential.*", self._heard)
        return World(
            store=foundation.store(sql=plan.sql),
            broker=broker,
            cache=MemoryCache(lambda: self._outside.time_at(self._loop.time())),
            providers={
                account.habit.name: SimulatedProvider(
                    account.habit, plan.lives[account.habit.name], self._loop.time
                )
                for account in plan.accounts
            },
            keys=foundation.keys(),
            network=network,
            weather=self._weather,
            requests=Requests(),
            history=self.history,
            watch=self._watch,
            places=tuple(foundation.place(account) for account in plan.accounts),
            agents=plan.agents,
            clock=lambda: self._outside.time_at(self._loop.time()),
        )

    def _outage(self, port: str, seconds: float) -> None:
        if not self._healing:
            self.history.add(Happened, what=f"{port} down")
            self._weather.down.add(port)
            self._world.network.later(seconds, self._mend, port)

    def _mend(self, port: str) -> None:
        if port in self._weather.down:
            self._weather.down.discard(port)
            self.history.add(Happened, what=f"{port} up")

    def _flush(self) -> None:
        self.history.add(Happened, what="cache flushed")
        self._world.cache.flush()

    def _forget_client(self, name: str, seconds: float) -> None:
        if not self._healing:
            self.history.add(Happened, what="client unknown", detail=name)
            self._world.providers[name].refuses_client = True
            self._world.network.later(seconds, self._know_client, name)

    def _know_client(self, name: str) -> None:
        if self._world.providers[name].refuses_client:
            self._world.providers[name].refuses_client = False
            self.history.add(Happened, what="client known", detail=name)

    def _crowd(self) -> None:
        """Many agents ask for one token in one moment, at every dispenser."""
        place = self._chance.choice(self._world.places)
        for number in range(self._plan.crowd):
            for desk in list(desks.values()):
                desk.member.process.context.run(self._loop.create_task, desk.ask(place, None, number))

    def _syscall(self, what: str) -> None:
        process = CURRENT.get()
        self._watch(process, f"disk {what}", "there")
        if not process.alive:
            raise Killed
        if what in ("allocate", "write", "sync", "sync folder") and self._weather.disk_fails():
            self.history.add(Fault, port="disk", process=process.name, what=what, how="failed")
            raise OSError(28, "No space left on the simulated disk")

    # ---------------------------------------------------------------------------------------- what is seen

    def _faulty(self, port: str, process: str, what: str, how: str) -> None:
        self.history.add(Fault, port=port, process=process, what=what, how=how)

    def _said(self, text: str) -> None:
        if not self._tell_all and not text.startswith(UNEXPECTED):
            return
        self.history.add(Said, process=str(CURRENT.get()), text=text)

    def _heard(self, event: Delivery) -> None:
        fields = foundation.event_fields(event.body)
        self.history.add(
            Announced,
            type=EventType(event.routing_key),
            place=(ServiceName(fields["service"]), Owner(fields["owner"])),
            generation=fields.get("generation"),
        )

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.history.add(
            Unhandled, process=str(CURRENT.get()), error=repr(error) if error else context["message"]
        )

    def _unsettled(self) -> list[str]:
        """What has not come to its end."""
        store, now = self._world.store, self._outside.time_at(self._loop.time())
        waits = [f"intent {one.id} is open" for one in at_once(store.rotations.open_intents())]
        waits += [f"{member.name} has {name} in its spool" for member, name in self._spooled()]
        waits += [
            f"event {one.id} is unsent" for one in at_once(store.outbox.pending(99, written_before=FAR_OFF))
        ]
        waits += [f"enrolment {one} pends" for one in at_once(store.enrolments.pending(now, 99))]
        return waits + [
            f"{g.id} is {g.state}" for g in at_once(store.grants.select()) if not self._at_rest(g)
        ]

    def _spooled(self) -> Iterator[tuple[Member, str]]:
        """What a replay would find. Half a reservation, left by a kill, is none."""
        for member in self._members.values():
            for path in spool_file.files(member.disk.folder):  # type: ignore[arg-type]
                for found in spool_file.entries(path):
                    yield member, found.entry.id

    def _at_rest(self, grant: Grant) -> bool:
        if grant.state in (GrantState.REAUTH_REQUIRED, GrantState.REVOKED):
            return True
        calm = grant.state is GrantState.ACTIVE and not grant.failures
        return calm and self._is_good(grant)

    def _is_good(self, grant: Grant) -> bool:
        return self._is_client(grant) or self._provider(grant).good(self._token(grant))

    def _final_grants(self) -> Iterator[FinalGrant]:
        for grant in at_once(self._world.store.grants.select()):
            records = at_once(
                self._world.store.audit.query(AuditFilter(service=grant.service, owner=grant.owner))
            )
            provider, token = self._provider(grant), self._token(grant)
            yield FinalGrant(
                id=grant.id,
                place=(grant.service, grant.owner),
                provider=provider.habit.name,
                row=row_of(grant),
                token=token,
                redeemable=self._is_good(grant),
                audit=tuple((one.action, one.outcome, one.reason) for one in records),
            )

    def _is_client(self, grant: Grant) -> bool:
        return self._provider(grant).habit.grant is GrantKind.CLIENT_CREDENTIALS

    def _provider(self, grant: Grant) -> SimulatedProvider:
        return self._world.providers[grant.service]

    def _token(self, grant: Grant) -> str:
        known = (grant.id, grant.credential_fingerprint)
        if known not in self._tokens:
            self._tokens[known] = self._opened(grant)
        return self._tokens[known]

    def _opened(self, grant: Grant) -> str:
        try:
            credential = open_credential(self._world.keys, grant)
        except SealBroken:  # which makes it a lost one
            return ""
        return credential.value.reveal() if isinstance(credential, RefreshToken) else ""


@dataclass(slots=True)
class _Armed:
    plan: Strike
    left: int


def _by_place(strikes: tuple[Strike, ...]) -> dict[tuple[str, str], list[_Armed]]:
    armed: dict[tuple[str, str], list[_Armed]] = {}
    for strike in strikes:
        moment = "there" if strike.place.startswith("disk ") else strike.moment
        armed.setdefault((strike.place, moment), []).append(_Armed(strike, strike.nth))
    return armed


@contextmanager
def _unhurried() -> Iterator[None]:
    """Polling takes most of a run's steps and finds nothing: less often does."""
    chores = {"REVOCATIONS_SECONDS": 30.0, "OUTBOX_SECONDS": 15.0, "TAKEOVER_SECONDS": 10.0}
    beats = {"BEAT_SECONDS": 10.0, "HEARD_SECONDS": 30.0}
    looks = {"LAST_LOOK_SECONDS": 2.0}
    with (
        patch.multiple(janitor, **chores),
        patch.multiple(heartbeat, **beats),
        patch.multiple(refresh_wait, **looks),
    ):
        yield


@contextmanager
def _logs_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Logs into the history."""

    def drop(_logger: object, level: str, event: dict[str, Any]) -> str:
        tell(" ".join([event.pop("event"), *(f"{key}={value}" for key, value in event.items())]))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[drop], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
