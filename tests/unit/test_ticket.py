"""A ticket brings its session back to any dispenser that holds its key, whole, until it is over."""

import os
from dataclasses import fields
from datetime import timedelta

import msgpack
import pytest
from builders import KEYS as MINTING
from builders import NOW, an_identity
from hypothesis import given
from hypothesis import strategies as st
from sealed_agent import PLACE

from dispenser import sealed_frame, sealed_session, ticket, transport_key
from dispenser.narrowing import Narrowing
from dispenser.sealed_frame import MAX_TICKET_BYTES
from dispenser.sealed_session import SealedSession
from dispenser.ticket import LABEL, UnknownTicket
from dispenser.transport_key import TransportKey
from dispenser.vault_token import MAX_CHARACTERS, mint
from shared.model import AgentName, Owner

KEY = transport_key.from_material(1, b"k" * 64)
OTHER = transport_key.from_material(2, b"o" * 64)
HELD = {KEY.id: KEY}
KEYS = sealed_session.derived(b"s" * 32, b"opening")
IDENTITY = an_identity(
    key="thumbprint",
    until=NOW + timedelta(minutes=15),
    actors=(AgentName("intern"), AgentName("tracker")),
    narrowing=Narrowing(
        services=frozenset({"slack-post"}), scopes=frozenset({"write"}), owner=Owner("grace")
    ),
)
ENDS = NOW + timedelta(minutes=15)
NONCE = b"n" * 12
TICKET = ticket.seal(KEY, KEYS, IDENTITY, ENDS, NONCE)


def test_a_session_comes_back_whole() -> None:
    session = ticket.unseal(HELD | {OTHER.id: OTHER}, TICKET, NOW)
    assert (session.identity, session.expires_at) == (IDENTITY, ENDS)
    body = SealedSession(KEYS).seal_request(TICKET, PLACE, b"x", NONCE)
    assert session.sealed.open_request(sealed_frame.read_request(body), PLACE) == b"x"


def test_every_field_of_an_identity_comes_back() -> None:
    """Whatever is told of an identity later has to survive too: what is lost here is a right or its limit."""
    assert all(getattr(IDENTITY, field.name) is not None for field in fields(IDENTITY))
    assert ticket.unseal(HELD, TICKET, NOW).identity == IDENTITY
    bare = an_identity()
    assert ticket.unseal(HELD, ticket.seal(KEY, KEYS, bare, ENDS, NONCE), NOW).identity == bare


def test_a_ticket_tells_nothing() -> None:
    shown = TICKET + repr(ticket.unseal(HELD, TICKET, NOW)).encode()
    for told in (KEYS.request_key, KEYS.reply_key, KEYS.request_key.hex().encode()):
        assert told not in shown
    assert b"tracker" not in TICKET


@given(st.integers(0, 8 * len(TICKET) - 1))
def test_a_ticket_with_any_bit_flipped_is_unknown(bit: int) -> None:
    changed = bytearray(TICKET)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnknownTicket):
        ticket.unseal(HELD, bytes(changed), NOW)


@given(st.binary(max_size=40) | st.integers(0, len(TICKET) - 1).map(lambda length: TICKET[:length]))
def test_what_is_no_ticket_is_unknown(made: bytes) -> None:
    with pytest.raises(UnknownTicket):
        ticket.unseal(HELD, made, NOW)


@pytest.mark.parametrize("held", [{}, {OTHER.id: OTHER}, {KEY.id: OTHER}])
def test_a_ticket_whose_key_is_gone_is_unknown(held: dict[bytes, TransportKey]) -> None:
    with pytest.raises(UnknownTicket):
        ticket.unseal(held, TICKET, NOW)


def test_a_session_that_is_over_is_unknown() -> None:
    assert ticket.unseal(HELD, TICKET, ENDS - timedelta(microseconds=1))
    with pytest.raises(UnknownTicket):
        ticket.unseal(HELD, TICKET, ENDS)


def test_a_ticket_of_another_version_is_unknown() -> None:
    plain = msgpack.packb([b"r" * 32, b"p" * 32, ENDS, {"agent": "tracker", "later": 1}], datetime=True)
    made = KEY.id + NONCE + KEY.tickets.encrypt(NONCE, plain, LABEL + KEY.id)
    with pytest.raises(UnknownTicket):
        ticket.unseal(HELD, made, NOW)


def test_the_longest_ticket_has_room_in_a_request() -> None:
    identity = an_identity(agent="a" * 128, owner="o" * 2500, session="s" * 128, key="k" * 43)
    assert len(mint(MINTING, identity, vault="vault")) > MAX_CHARACTERS
    assert len(ticket.seal(KEY, KEYS, identity, ENDS, os.urandom(12))) < MAX_TICKET_BYTES
