"""Tokens end early rather than late, and are refreshed while they still serve."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.expiry import SKEW_SECONDS, backoff_seconds, expires_at, refresh_at, remaining_seconds

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LIVES = st.floats(1, 1e8)
ENTROPY = st.floats(0, 1, exclude_max=True)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("expires_in", "end"), [(3600, later(3600)), (0, NOW), (-5, NOW)])
def test_a_life_counts_from_the_requests_sending_and_is_never_negative(
    expires_in: float, end: datetime
) -> None:
    assert expires_at(NOW, expires_in) == end


@pytest.mark.parametrize(("left", "remaining"), [(60, 59), (1, 0), (0, -1), (-10, -11)])
def test_a_token_is_taken_to_end_early_for_clocks_differ(left: float, remaining: float) -> None:
    assert remaining_seconds(later(left), NOW) == remaining == left - SKEW_SECONDS


def test_a_token_without_an_end_does_not_end_and_is_not_refreshed() -> None:
    assert remaining_seconds(None, NOW) == float("inf")
    assert refresh_at(NOW, None, 0.5) is None


@pytest.mark.parametrize(("entropy", "seconds"), [(0.0, 650), (0.5, 700), (0.999999, 750)])
def test_a_token_is_refreshed_after_about_seven_tenths_of_its_life(entropy: float, seconds: float) -> None:
    moment = refresh_at(NOW, later(1000), entropy)
    assert moment is not None
    assert (moment - NOW).total_seconds() == pytest.approx(seconds, abs=0.01)


@given(LIVES, ENTROPY)
def test_a_refresh_comes_after_issue_and_before_the_end(life: float, entropy: float) -> None:
    moment = refresh_at(NOW, later(life), entropy)
    assert moment is not None
    assert NOW < moment < later(life)


@pytest.mark.parametrize(("failures", "least", "most"), [(0, 0.5, 1), (1, 0.5, 1), (2, 1, 2), (5, 8, 16)])
def test_waits_double_with_each_failure_and_are_spread_over_a_half(
    failures: int, least: float, most: float
) -> None:
    assert backoff_seconds(failures, 0.0) == least
    assert backoff_seconds(failures, 1.0) == most


@given(st.integers(0, 10**9), ENTROPY)
def test_a_wait_ends_however_many_failures_there_were(failures: int, entropy: float) -> None:
    assert 0 < backoff_seconds(failures, entropy, cap=300.0) <= 300.0
