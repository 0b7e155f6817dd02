"""No two places are spelled alike, and both ends call a virtual host by one name."""

from dataclasses import replace

import pytest
from aiormq.connection import Connection
from hypothesis import given
from hypothesis import strategies as st

from dispenser.place import Place, vhost_of

PLACES = st.builds(Place, vhost=st.text(), queue=st.text(), user=st.text(), reply_to=st.text())


@given(PLACES, PLACES)
def test_two_places_are_spelled_alike_only_if_they_are_one(one: Place, other: Place) -> None:
    assert (one.octets == other.octets) == (one == other)


@given(PLACES, st.sampled_from(["vhost", "queue", "user", "reply_to"]))
def test_a_letter_more_makes_another_place(place: Place, part: str) -> None:
    assert replace(place, **{part: getattr(place, part) + "x"}).octets != place.octets


def test_a_letter_moved_from_one_part_to_the_next_makes_another_place() -> None:
    """Though all together spell the same: `tracker` in `a` is not `racker` in `at`."""
    one = Place(vhost="a", queue="", user="tracker", reply_to="r")
    for other in (
        {"vhost": "", "queue": "a"},
        {"queue": "t", "user": "racker"},
        {"user": "tracke", "reply_to": "rr"},
    ):
        assert replace(one, **other).octets != one.octets


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://host", "/"),
        ("amqp://host/", "/"),
        ("amqps://user:password@host:5671/vault?heartbeat=10", "vault"),
        ("amqp://host/%2F", "/"),
        ("amqp://host//vault", "/vault"),
        ("amqp://host/%2Fvault", "/vault"),
        ("amqp://host/a%20b", "a b"),
    ],
)
async def test_a_virtual_host_is_named_as_the_driver_names_it(url: str, vhost: str) -> None:
    assert vhost_of(url) == vhost == Connection(url).vhost  # the driver wants a loop for it


def test_a_bus_in_memory_has_a_virtual_host_too() -> None:
    assert vhost_of("memory://") == "/"
