"""Thousands of seeded runs of the vault's own code, each in a world that mistreats it in its own way."""

import gc
import os
from collections.abc import Iterator

import pytest
from simulation.checker import violations
from simulation.history import History, line
from simulation.simulation import run

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
CHUNK = 50
#: Events told of around a violation; `make replay` tells all.
TOLD = 40


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_no_garbage() -> Iterator[None]:
    """What pytest and its plugins hold is looked through for garbage once, not in the midst of runs."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# "::" makes a chunk a scope of its own to xdist, which otherwise keeps a file's tests on one worker.
@pytest.mark.parametrize("first", [pytest.param(n, id=f"from {n}::") for n in range(0, SEEDS, CHUNK)])
def test_every_history_keeps_the_promises(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        history = run(seed)
        found = violations(history)
        assert not found, _report(seed, history, [(one.at, str(one)) for one in found])


def test_a_seed_replays() -> None:
    assert run(23).events == run(23).events


def _report(seed: int, history: History, found: list[tuple[float, str]]) -> str:
    until = found[0][0]
    before = [event for event in history.events if event.at <= until][-TOLD:]
    return "\n".join(
        [f"seed {seed}: make replay SEED={seed}", *map(line, before), *(what for _, what in found)]
    )
