"""A message is read as what it is, or it is malformed."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser import sealed_frame
from dispenser.frame import MalformedFrame
from dispenser.sealed_frame import MAX_BODY_BYTES, MAX_TICKET_BYTES, Kind, Refused

TICKETS = st.binary(min_size=1, max_size=MAX_TICKET_BYTES)


@given(TICKETS, st.binary(min_size=12, max_size=12), st.binary(max_size=50))
def test_a_request_comes_out_as_it_went_in(ticket: bytes, nonce: bytes, sealed: bytes) -> None:
    header = sealed_frame.request_header(ticket)
    frame = sealed_frame.read_request(header + nonce + sealed)
    assert (frame.header, frame.ticket, frame.nonce, frame.sealed) == (header, ticket, nonce, sealed)
    assert sealed_frame.kind(header + nonce + sealed) is Kind.REQUEST


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=50))
def test_an_opening_comes_out_as_it_went_in(key_id: bytes, sealed: bytes) -> None:
    body = sealed_frame.opening(key_id, sealed)
    frame = sealed_frame.read_opening(body)
    assert (sealed_frame.kind(body), frame.key_id, frame.sealed) == (Kind.OPENING, key_id, sealed)


@pytest.mark.parametrize("refused", Refused)
def test_a_refusal_comes_out_as_it_went_in(refused: Refused) -> None:
    body = sealed_frame.refusal(refused)
    assert (sealed_frame.kind(body), sealed_frame.read_refusal(body)) == (Kind.REFUSAL, refused)


def test_a_later_versions_refusal_is_no_reason_to_fail() -> None:
    assert sealed_frame.read_refusal(b"\1\7later") is None
    assert sealed_frame.read_refusal(b"\1\7\xff") is None


@pytest.mark.parametrize(
    "body", [b"", b"\1", b"\2\1", b"\1\0", b"\1\x08", b"\x85\xa1v\1", b"\1\1" + bytes(MAX_BODY_BYTES)]
)
def test_what_is_no_message_of_this_version_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedFrame):
        sealed_frame.kind(body)


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\0",
        b"\0\0" + bytes(20),
        b"\0\5ticke",
        b"\0\5ticket" + bytes(10),
        b"\xff\xff" + bytes(9000),
        b"\x10\1" + bytes(MAX_TICKET_BYTES + 30),
    ],
)
def test_a_request_cut_short_is_malformed(rest: bytes) -> None:
    with pytest.raises(MalformedFrame):
        sealed_frame.read_request(b"\1\5" + rest)


@given(st.binary(max_size=100))
def test_garbage_is_malformed_and_nothing_worse(body: bytes) -> None:
    with contextlib.suppress(MalformedFrame):
        sealed_frame.kind(body)
    with contextlib.suppress(MalformedFrame):
        sealed_frame.read_request(body)
    sealed_frame.read_opening(body)
    sealed_frame.read_answer(body)
    sealed_frame.read_refusal(body)


@given(st.binary(max_size=100), st.integers(0, 799))
def test_a_messages_id_is_its_content(body: bytes, bit: int) -> None:
    assert sealed_frame.identifier(body) == hashlib.sha256(body).hexdigest()[:32]
    if bit < 8 * len(body):
        assert sealed_frame.identifier(flipped(body, bit)) != sealed_frame.identifier(body)


def flipped(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
