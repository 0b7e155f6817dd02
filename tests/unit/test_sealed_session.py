"""What a session seals opens in that session, at that place, for that request, and in no other way."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_agent import PLACE

from dispenser import sealed_frame, sealed_session
from dispenser.frame import MalformedFrame
from dispenser.place import Place
from dispenser.sealed_frame import Kind
from dispenser.sealed_session import (
    AHEAD_SECONDS,
    BEHIND_SECONDS,
    SealedSession,
    SessionKeys,
    Unopened,
    derived,
    timely,
)

SESSION = SealedSession(derived(b"s" * 32, b"opening"))
TICKET, NONCE, ASKED = b"ticket", b"n" * 12, "0" * 32
PLAIN = b"calls, or what is answered to them"
REQUEST = SESSION.seal_request(TICKET, PLACE, PLAIN, NONCE)
REPLIES = SESSION.seal_answer(Kind.REPLIES, ASKED, PLAIN, NONCE)


def opened(body: bytes, *, session: SealedSession = SESSION, place: Place = PLACE) -> bytes:
    return session.open_request(sealed_frame.read_request(body), place)


def test_what_is_sealed_opens() -> None:
    assert opened(REQUEST) == PLAIN
    assert SESSION.open_answer(Kind.REPLIES, ASKED, REPLIES) == PLAIN
    assert PLAIN not in REQUEST + REPLIES


def test_a_repeated_message_opens_again() -> None:
    assert opened(REQUEST) == opened(REQUEST)


@given(st.integers(0, 8 * len(REQUEST) - 1))
def test_a_request_with_any_bit_flipped_does_not_open(bit: int) -> None:
    with pytest.raises((Unopened, MalformedFrame)):
        opened(flipped(REQUEST, bit))


@given(st.integers(16, 8 * len(REPLIES) - 1))
def test_replies_with_any_bit_flipped_do_not_open(bit: int) -> None:
    with pytest.raises(Unopened):
        SESSION.open_answer(Kind.REPLIES, ASKED, flipped(REPLIES, bit))


@given(st.integers(0, len(REQUEST) - 1))
def test_a_message_cut_short_does_not_open(length: int) -> None:
    with pytest.raises((Unopened, MalformedFrame)):
        opened(REQUEST[:length])
    with pytest.raises(Unopened):
        SESSION.open_answer(Kind.REPLIES, ASKED, REPLIES[: min(length, len(REPLIES) - 1)])


@pytest.mark.parametrize("part", ["vhost", "queue", "user", "reply_to"])
def test_a_request_opens_at_no_other_place(part: str) -> None:
    with pytest.raises(Unopened):
        opened(REQUEST, place=replace(PLACE, **{part: "another"}))


def test_a_request_opens_with_no_other_ticket() -> None:
    other = sealed_frame.request_header(b"TICKET") + REQUEST[len(sealed_frame.request_header(TICKET)) :]
    with pytest.raises(Unopened):
        opened(other)


@pytest.mark.parametrize("keys", [derived(b"S" * 32, b"opening"), derived(b"s" * 32, b"another opening")])
def test_nothing_opens_in_another_session(keys: SessionKeys) -> None:
    with pytest.raises(Unopened):
        opened(REQUEST, session=SealedSession(keys))
    with pytest.raises(Unopened):
        SealedSession(keys).open_answer(Kind.REPLIES, ASKED, REPLIES)


def test_an_answer_is_for_the_request_it_is_for() -> None:
    with pytest.raises(Unopened):
        SESSION.open_answer(Kind.REPLIES, "1" * 32, REPLIES)


def test_an_answer_of_one_kind_is_not_taken_for_another() -> None:
    with pytest.raises(Unopened):
        SESSION.open_answer(Kind.OPENED, ASKED, REPLIES)


def test_a_request_is_not_turned_round_into_an_answer() -> None:
    """Each way has a key of its own."""
    keys = derived(b"s" * 32, b"opening")
    assert keys.request_key != keys.reply_key
    turned = SealedSession(SessionKeys(keys.reply_key, keys.request_key))
    with pytest.raises(Unopened):
        opened(turned.seal_request(TICKET, PLACE, PLAIN, NONCE))


def test_no_key_shows() -> None:
    assert repr(derived(b"s" * 32, b"opening")) == "SessionKeys()"


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (0.0, True),
        (BEHIND_SECONDS, True),
        (BEHIND_SECONDS + 0.1, False),
        (-AHEAD_SECONDS, True),
        (-AHEAD_SECONDS - 0.1, False),
        (600.0, False),
    ],
)
def test_a_message_is_of_now_or_not_taken(age: float, taken: bool) -> None:
    assert timely(10_000.0 - age, 10_000.0) is taken


def test_a_message_lives_no_longer_than_it_is_taken() -> None:
    """Else a slow queue would turn honest agents away: RabbitMQ drops a request after ten seconds."""
    assert sealed_session.BEHIND_SECONDS > 10


def flipped(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
