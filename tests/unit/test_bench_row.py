"""What the benchmark says of a figure."""

import pytest
from bench.load import Measured
from bench.row import Row


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row(name="more is better", ours=21.0, theirs=1.0, unit="1/s", goal=20.0), True),
        (Row(name="more is better", ours=19.0, theirs=1.0, unit="1/s", goal=20.0), False),
        (Row(name="less is better", ours=9.0, theirs=10.0, unit="µs", goal=1.0, better="lower"), True),
        (Row(name="less is better", ours=11.0, theirs=10.0, unit="µs", goal=1.0, better="lower"), False),
        (Row(name="alone", ours=140.0, unit="MB", goal=150.0, better="lower"), True),
        (Row(name="alone", ours=160.0, unit="MB", goal=150.0, better="lower"), False),
        (Row(name="no goal", ours=1.0, theirs=2.0, unit="1/s"), None),
    ],
)
def test_a_goal_bounds_the_ratio_or_a_figure_that_is_alone(row: Row, holds: bool | None) -> None:
    assert row.document()["holds"] is holds


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    measured = Measured(seconds=2.0, latencies=[0.4, 0.1, 0.3, 0.2])
    assert measured.per_second == 2.0
    assert [measured.percentile(share) for share in (0.0, 0.5, 0.51, 0.99)] == [0.1, 0.2, 0.3, 0.4]
