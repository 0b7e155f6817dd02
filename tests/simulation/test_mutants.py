"""The checker can tell: it misses no step of the protocol that is left out."""

import itertools

import pytest
from simulation.checker import violations
from simulation.mutants import MUTANTS
from simulation.plan import plan
from simulation.simulation import run

#: Seeds that are tried until one shows what is missing.
MOST_SEEDS = 2000


@pytest.mark.parametrize("step", MUTANTS)
def test_a_step_that_is_left_out_breaks_a_promise(step: str) -> None:
    in_memory = (seed for seed in itertools.count() if not plan(seed).sql)
    with MUTANTS[step]():
        assert any(violations(run(seed)) for seed in itertools.islice(in_memory, MOST_SEEDS))
