"""A call is made again while that can help and there is time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser.client.errors import (
    DeadlineExceeded,
    Denied,
    Overloaded,
    ProviderDown,
    RateLimited,
    Unauthenticated,
    Unroutable,
    VaultError,
    VaultUnreachable,
)
from dispenser.client.retry import backoff_seconds, wait_seconds

entropies = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10_000), entropies)
def test_a_backoff_is_never_nothing_and_never_above_its_cap(attempt: int, entropy: float) -> None:
    assert 0.05 <= backoff_seconds(attempt, cap_seconds=2.0, entropy=entropy) <= 2.0


@given(st.integers(0, 3))
def test_backoffs_double(attempt: int) -> None:
    first, second = (backoff_seconds(n, cap_seconds=60, entropy=0.5) for n in (attempt, attempt + 1))
    assert second == pytest.approx(2 * first)


@pytest.mark.parametrize(
    "error", [VaultUnreachable(""), Overloaded(""), RateLimited(""), DeadlineExceeded("")]
)
def test_what_may_pass_is_tried_again_if_there_is_time(error: VaultError) -> None:
    assert wait_seconds(error, 0, left_seconds=5, entropy=0.5) is not None
    assert wait_seconds(error, 0, left_seconds=0.01, entropy=0.5) is None


@pytest.mark.parametrize("error", [Denied(""), Unauthenticated(""), Unroutable(""), ProviderDown("")])
def test_what_does_not_pass_by_itself_is_told_at_once(error: VaultError) -> None:
    assert wait_seconds(error, 0, left_seconds=60, entropy=0.5) is None


@given(st.floats(0, 100), entropies)
def test_the_vaults_word_on_when_to_ask_again_is_kept(retry_after: float, entropy: float) -> None:
    error = RateLimited("", retry_after=retry_after)
    wait = wait_seconds(error, 0, left_seconds=1000, entropy=entropy)
    assert wait is not None
    assert wait > retry_after
    assert wait_seconds(error, 0, left_seconds=retry_after, entropy=entropy) is None
