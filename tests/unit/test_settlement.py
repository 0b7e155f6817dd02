import pytest

from shared.ports import Ack, DeadLetter, RetryLater, Settlement
from shared.topology import DELIVERY_LIMIT
from workers.settlement import Busy, Crashed, Done, Failed, Postponed, Result, Skipped, Spooled, settle

LAST = DELIVERY_LIMIT - 1


@pytest.mark.parametrize("result", [Done(2), Skipped("stale"), Failed("invalid_grant"), Spooled()])
@pytest.mark.parametrize("attempt", [0, LAST])
def test_what_sql_or_the_spool_knows_is_done_with(result: Result, attempt: int):
    assert settle(result, attempt) == Ack()


@pytest.mark.parametrize(
    ("result", "first", "last"),
    [
        (Busy(), RetryLater(10.0), Ack()),
        (Postponed(60.0, "circuit_open"), RetryLater(60.0), Ack()),
        (Crashed(), RetryLater(60.0), DeadLetter()),
    ],
)
def test_the_rest_is_retried_and_only_a_crash_ends_among_the_dead(
    result: Result, first: Settlement, last: Settlement
):
    assert settle(result, 0) == first
    assert settle(result, LAST - 1) == first
    assert settle(result, LAST) == last
