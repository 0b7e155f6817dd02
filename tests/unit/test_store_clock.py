"""Workers go by the database's time, whatever becomes of their own clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import StoreUnavailable
from shared.store_clock import LONGEST_LOOK_SECONDS, StoreClock

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Machine:
    """One whose own clock is wrong, and a database that is right."""

    def __init__(self) -> None:
        self.elapsed = 1000.0
        self.error = timedelta(hours=1)
        self.look_seconds = 0.0
        self.reachable = True
        self.clock = StoreClock(self.read, lambda: self.elapsed, own=lambda: self.true + self.error)

    @property
    def true(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed)

    async def read(self) -> datetime:
        if not self.reachable:
            raise StoreUnavailable("down")
        self.elapsed += self.look_seconds / 2
        told = self.true
        self.elapsed += self.look_seconds / 2
        return told


async def test_the_databases_time_counts_from_the_first_look_on() -> None:
    machine = Machine()
    assert machine.clock() == machine.true + machine.error
    await machine.clock.look()
    machine.elapsed += 500
    assert machine.clock() == machine.true


async def test_a_step_of_the_own_clock_is_not_noticed() -> None:
    machine = Machine()
    await machine.clock.look()
    machine.error = timedelta(hours=-1)
    machine.elapsed += 500
    assert machine.clock() == machine.true


async def test_a_database_that_is_down_leaves_the_time_as_it_was_seen() -> None:
    machine = Machine()
    await machine.clock.look()
    machine.reachable = False
    with pytest.raises(StoreUnavailable):
        await machine.clock.look()
    machine.elapsed += 500
    assert machine.clock() == machine.true


async def test_the_way_of_an_answer_is_reckoned_with() -> None:
    machine = Machine()
    machine.look_seconds = LONGEST_LOOK_SECONDS
    await machine.clock.look()
    assert machine.clock() == machine.true


async def test_a_look_that_took_long_changes_nothing() -> None:
    machine = Machine()
    await machine.clock.look()
    before = machine.clock()
    machine.look_seconds = LONGEST_LOOK_SECONDS + 1

    async def late() -> datetime:
        await Machine.read(machine)
        return NOON - timedelta(days=1)

    machine.clock._read = late
    await machine.clock.look()
    assert machine.clock() == before + timedelta(seconds=machine.look_seconds)
