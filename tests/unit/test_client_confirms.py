"""A request that the broker refuses fails, and no other."""

import pytest

from dispenser.amqp.frames import Confirm, Deliver, Properties
from dispenser.amqp.transport import Message
from dispenser.client.amqp_confirms import Confirms
from dispenser.client.errors import Overloaded, Unroutable, VaultError


@pytest.fixture
def refused() -> list[tuple[str, type[VaultError]]]:
    return []


@pytest.fixture
def confirms(refused: list[tuple[str, type[VaultError]]]) -> Confirms:
    confirms = Confirms(lambda message_id, error: refused.append((message_id, type(error))))
    for message_id in ("a", "b", "c", "d"):
        confirms.published(message_id)
    return confirms


def test_one_that_does_not_fit_into_the_queue_is_told(confirms, refused):
    confirms.confirmed(Confirm(1, multiple=False, accepted=True))
    confirms.confirmed(Confirm(2, multiple=False, accepted=False))
    assert refused == [("b", Overloaded)]


def test_several_are_confirmed_or_refused_at_once(confirms, refused):
    confirms.confirmed(Confirm(2, multiple=True, accepted=True))
    confirms.confirmed(Confirm(4, multiple=True, accepted=False))
    assert refused == [("c", Overloaded), ("d", Overloaded)]


def test_none_is_told_twice_or_unknown(confirms, refused):
    for _ in range(2):
        confirms.confirmed(Confirm(1, multiple=False, accepted=False))
    confirms.confirmed(Confirm(9, multiple=False, accepted=False))
    assert refused == [("a", Overloaded)]


def test_one_that_no_queue_takes_is_told_though_it_is_confirmed(confirms, refused):
    returned = Message(Deliver(0, redelivered=False, routing_key=""), Properties(correlation_id="a"), b"")
    confirms.returned(returned)
    confirms.confirmed(Confirm(1, multiple=False, accepted=True))
    assert refused == [("a", Unroutable)]
