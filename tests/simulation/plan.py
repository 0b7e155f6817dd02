"""What a seed stands for: who runs, what goes wrong, and when. Drawn at once, before anything happens."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from simulation.provider import HABITS, Habit

#: A run in so many is on the real SQL store.
SQL_EVERY: Final = 40
#: A run in so many is calm: nothing goes wrong in it at all.
CALM_EVERY: Final = 10
LIVES: Final = (90, 120, 120, 180, 300)
_PLACES: Final = (
    "rotations.claim",
    "catalogue.provider_secrets",
    "disk open",
    "disk allocate",
    "disk write",
    "disk sync",
    "disk sync folder",
    "provider",
    "provider",
    "provider",
    "grants.get",
    "rotations.commit",
    "rotations.commit",
    "rotations.fail",
    "rotations.release",
    "rotations.intent",
    "cache.put",
    "bus.publish credential.refreshed",
    "audit.append",
    "outbox.sent",
    "disk unlink",
    "grants.claim_due",
    "enrolments.take",
    "enrolments.succeed",
)
_MOMENTS: Final = ("before", "there", "back")
_DEEDS: Final = (*["kill"] * 3, *["cut power"] * 2, "pause", *["sever"] * 2, "drain", "outage", "step")
_DEEDS_IN_FLIGHT: Final = ("kill", "kill", "cut power", "pause", "sever", "sever", "drain", "outage")
_OUTAGES: Final = ("store", "store", "bus", "cache", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """When a process comes to a place for the n-th time, something is done to it there."""

    place: str
    moment: str
    nth: int
    deed: str
    #: How long it is down, paused, cut off or has its clock wrong.
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """At a time something is done to a process, whatever it is at."""

    at: float
    process: str
    deed: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A grant that is there from the start."""

    habit: Habit
    owner: str
    #: Share of its first token's life that is over.
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    sql: bool
    #: Seconds of true time in which things may go wrong.
    seconds: float
    processes: tuple[str, ...]
    lives: Mapping[str, int]
    accounts: tuple[Account, ...]
    rates: Mapping[str, float] = field(default_factory=dict)
    slow_rate: float = 0.0
    disk_rate: float = 0.0
    strikes: tuple[Strike, ...] = ()
    blows: tuple[Blow, ...] = ()
    #: (when, port, seconds)
    outages: tuple[tuple[float, str, float], ...] = ()
    flushes: tuple[float, ...] = ()
    #: (when, provider, seconds): the provider does not know our client.
    unknown_client: tuple[tuple[float, str, float], ...] = ()
    #: (when, account): its owner connects it anew, or revokes it.
    reconnections: tuple[tuple[float, int], ...] = ()
    revocations: tuple[tuple[float, int], ...] = ()
    #: A refresher that does not come back once it was killed.
    leaver: str = ""
    agents: int = 2
    #: Agents that ask for one token in one moment.
    crowd: int = 0

    @property
    def calm(self) -> bool:
        """Nothing goes wrong."""
        return not (self.rates or self.strikes or self.blows or self.outages or self.unknown_client)


def plan(seed: int) -> Plan:
    """The run of a seed: always the same one."""
    chance = random.Random(seed)
    sql = seed % SQL_EVERY == 7
    seconds = chance.uniform(120, 420) if sql or chance.random() < 0.96 else chance.uniform(1200, 3600)
    accounts = _accounts(chance)
    lives = {account.habit.name: chance.choice(LIVES) for account in accounts}
    peace = Plan(
        seed=seed,
        sql=sql,
        seconds=seconds,
        processes=_processes(chance),
        lives=lives,
        accounts=accounts,
        agents=chance.randint(1, 3),
        crowd=chance.choice((0, 0, 0, 0, 0, 20, 200)),
    )
    return peace if seed % CALM_EVERY == 0 else _troubled(peace, chance)


def _accounts(chance: random.Random) -> tuple[Account, ...]:
    # Most of them strict: those have the most to lose.
    habits = chance.sample(HABITS[:2] * 2 + HABITS, chance.randint(2, 4))
    return tuple(
        Account(habit=habit, owner=f"owner-{number}", age=chance.uniform(0.3, 1.1))
        for number, habit in enumerate(habits)
    )


def _processes(chance: random.Random) -> tuple[str, ...]:
    roles = {
        "refresher": chance.randint(1, 3),
        "scheduler": chance.randint(1, 2),
        "dispenser": chance.randint(1, 2),
    }
    names = [f"{role}-{number}" for role, count in roles.items() for number in range(1, count + 1)]
    return (*names, "janitor-1")


def _troubled(peace: Plan, chance: random.Random) -> Plan:
    level = chance.choice((0.0, 0.01, 0.05, 0.2))
    rates = {port: level * chance.choice((0, 1, 1)) for port in ("store", "bus", "cache", "journal")}
    rates["provider"] = chance.choice((0.0, 0.1, 0.3, 0.6))
    names, seconds = peace.processes, peace.seconds
    providers = sorted(peace.lives)

    def some(most: int) -> range:
        return range(chance.choice((0, 0, chance.randint(0, most))))

    return replace(
        peace,
        rates={port: rate for port, rate in rates.items() if rate},
        slow_rate=chance.choice((0.0, 0.0, 0.02, 0.1)),
        disk_rate=chance.choice((0.0, 0.0, 0.0, 0.02, 0.1)),
        strikes=tuple(_strike(chance) for _ in range(chance.randint(0, 4))),
        blows=tuple(_blow(chance, names, seconds) for _ in some(3)),
        outages=tuple(
            (chance.uniform(0, seconds), chance.choice(_OUTAGES), chance.uniform(1, 150)) for _ in some(3)
        ),
        flushes=tuple(chance.uniform(0, seconds) for _ in some(3)),
        unknown_client=tuple(
            (chance.uniform(0, seconds), chance.choice(providers), chance.uniform(5, 100)) for _ in some(2)
        ),
        leaver=chance.choice(("", "", "", "", "refresher-2")),
        reconnections=_happenings(chance, peace, some(2)),
        revocations=_happenings(chance, peace, some(1)),
    )


def _strike(chance: random.Random) -> Strike:
    place = chance.choice(_PLACES)
    return Strike(
        place=place,
        moment=chance.choice(_MOMENTS),
        nth=chance.choice((1, 1, 2, 3, 5, 8)),
        deed=chance.choice(_DEEDS_IN_FLIGHT if place == "provider" else _DEEDS),
        seconds=_absence(chance),
    )


def _blow(chance: random.Random, names: Sequence[str], seconds: float) -> Blow:
    return Blow(
        at=chance.uniform(0, seconds),
        process=chance.choice(names),
        deed=chance.choice(("kill", "cut power", "pause", "sever", "drain", "step")),
        seconds=_absence(chance),
    )


def _absence(chance: random.Random) -> float:
    return chance.choice((chance.uniform(0.1, 5), chance.uniform(5, 60), chance.uniform(60, 300)))


def _happenings(chance: random.Random, peace: Plan, count: range) -> tuple[tuple[float, int], ...]:
    return tuple((chance.uniform(0, peace.seconds), chance.randrange(len(peace.accounts))) for _ in count)
