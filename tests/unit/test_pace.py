"""When the next request to a provider may begin."""

from datetime import timedelta

from builders import NOW

from workers.pace import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, Pace


def test_requests_begin_no_faster_than_declared() -> None:
    pace = Pace()
    assert [round(pace.take_place(20, NOW), 6) for _ in range(4)] == [0.0, 0.05, 0.1, 0.15]


def test_a_line_that_nobody_stood_in_gives_nothing_in_advance() -> None:
    pace = Pace()
    pace.take_place(20, NOW)
    later = NOW + timedelta(seconds=10)
    assert [round(pace.take_place(20, later), 6) for _ in range(2)] == [0.0, 0.05]


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace()
    assert [pace.take_place(None, NOW) for _ in range(3)] == [0.0] * 3


def test_a_provider_is_left_alone_as_long_as_it_wishes_up_to_a_bound() -> None:
    pace = Pace()
    assert pace.pause_seconds(NOW) == 0.0
    pace.pause(None, NOW)
    assert pace.pause_seconds(NOW) == PAUSE_SECONDS
    pace.pause(20.0, NOW)
    pace.pause(1.0, NOW)
    assert pace.pause_seconds(NOW) == 20.0
    assert pace.pause_seconds(NOW + timedelta(seconds=21)) == 0.0
    pace.pause(10**9, NOW)
    assert pace.pause_seconds(NOW) == LONGEST_PAUSE_SECONDS
