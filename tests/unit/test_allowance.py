"""So much a second for each name, and what was left unused for a while at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser.allowance import REMEMBERED, Allowances

RATE, AT_ONCE = 10.0, 20.0


def spent(allowances: Allowances, amount: int, now: float, name: str = "tracker") -> float:
    return allowances.spend(name, amount, now, per_second=RATE, at_once=AT_ONCE)


def test_what_was_saved_up_is_there_at_once_and_then_comes_at_its_rate() -> None:
    allowances = Allowances()
    assert [spent(allowances, 1, 0.0) for _ in range(20)] == [0.0] * 20
    assert spent(allowances, 1, 0.0) == pytest.approx(0.1)
    assert spent(allowances, 1, 0.1) == 0.0
    assert spent(allowances, 1, 0.1) > 0.0


def test_a_refusal_takes_nothing_so_that_asking_on_keeps_nobody_out_for_longer() -> None:
    allowances = Allowances()
    spent(allowances, 20, 0.0)
    for _ in range(1000):
        assert spent(allowances, 1, 0.05) > 0.0
    assert spent(allowances, 1, 0.1) == pytest.approx(0.0)


def test_rest_saves_up_no_more_than_a_bucket_holds() -> None:
    allowances = Allowances()
    spent(allowances, 20, 0.0)
    assert spent(allowances, 20, 3600.0) == 0.0
    assert spent(allowances, 1, 3600.0) > 0.0


def test_more_than_a_bucket_holds_is_taken_from_a_full_one_and_paid_back() -> None:
    allowances = Allowances()
    assert spent(allowances, 64, 0.0) == 0.0
    assert spent(allowances, 1, 4.4) > 0.0
    assert spent(allowances, 1, 4.6) == 0.0


def test_one_name_takes_nothing_from_another() -> None:
    allowances = Allowances()
    while spent(allowances, 1, 0.0, "flood") == 0.0:
        pass
    assert spent(allowances, 1, 0.0, "tracker") == 0.0


def test_names_without_end_take_no_memory_without_end() -> None:
    allowances = Allowances()
    for number in range(2 * REMEMBERED):
        spent(allowances, 1, 0.0, f"name-{number}")
    assert len(allowances._buckets) == REMEMBERED


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 2)), max_size=60))
def test_whatever_is_asked_when_no_more_than_rate_and_bucket_is_given(asked: list[tuple[int, float]]) -> None:
    allowances, now, given_out = Allowances(), 0.0, 0
    for amount, pause in asked:
        now += pause
        if spent(allowances, amount, now) == 0.0:
            given_out += amount
    assert given_out <= AT_ONCE + RATE * now + 1e-6
