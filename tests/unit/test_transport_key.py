"""Transport keys follow each other day by day, and one is there whatever happens."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser import transport_key
from dispenser.transport_key import MATERIAL_BYTES, OVERLAP, SESSION_SECONDS, begins_at, current, wanted

MATERIAL = bytes(range(MATERIAL_BYTES))
INSTANTS = st.integers(1_577_836_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
DAYS = {day: transport_key.from_material(day, MATERIAL) for day in range(100)}


@given(INSTANTS)
def test_the_keys_of_the_day_and_of_the_next_must_be_there(now: datetime) -> None:
    today, tomorrow = wanted(now)
    assert begins_at(today) <= now < begins_at(tomorrow)
    assert begins_at(tomorrow) - begins_at(today) == timedelta(days=1)


@pytest.mark.parametrize(
    ("held", "chosen"),
    [((4, 5, 6), 5), ((5, 6), 5), ((4, 6), 4), ((6, 7), 6), ((2, 3), 3), ((3,), 3), ((9,), 9)],
)
def test_what_is_sealed_now_is_sealed_to_the_days_key_or_the_nearest(
    held: tuple[int, ...], chosen: int
) -> None:
    now = begins_at(5) + timedelta(hours=7)
    assert current({day: DAYS[day] for day in held}, now).day == chosen


def test_a_session_never_outlives_the_key_it_was_opened_with() -> None:
    last_opened = begins_at(6) - timedelta(microseconds=1)
    assert last_opened + timedelta(seconds=SESSION_SECONDS) < DAYS[5].expires_at == begins_at(6) + OVERLAP


def test_a_key_is_what_its_material_makes_it() -> None:
    one, same = (transport_key.from_material(5, MATERIAL) for _ in range(2))
    assert one.id == same.id == hashlib.sha256(one.public).digest()[:8]
    assert one.tickets.decrypt(bytes(12), same.tickets.encrypt(bytes(12), b"x", None), None) == b"x"
    assert transport_key.from_material(5, MATERIAL[::-1]).id != one.id


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_other_amounts_of_material_make_none(size: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        transport_key.from_material(5, bytes(size))


def test_nothing_secret_of_a_key_shows() -> None:
    assert "private" not in repr(DAYS[5])
    assert "tickets" not in repr(DAYS[5])
