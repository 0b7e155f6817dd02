"""Frames hold what was put into them, and nothing a stranger sends does harm."""

import contextlib
import dataclasses
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser import frame, protocol
from dispenser.protocol import (
    ChildCall,
    Code,
    MalformedFrame,
    RejectedCall,
    RenewCall,
    Reply,
    Request,
    TokenCall,
    decode_replies,
    decode_request,
    encode_call,
    encode_replies,
    encode_request,
    join_calls,
)
from shared import topology

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
optional_texts = st.none() | texts
seconds = st.floats(0, frame.MAX_SECONDS)
scopes = st.lists(texts, min_size=1, max_size=5).map(tuple)
generations = st.integers(0, frame.MAX_INTEGER)
calls = (
    st.builds(
        TokenCall,
        service=texts,
        owner=optional_texts,
        min_ttl=st.none() | seconds,
        scopes=st.none() | scopes,
        purpose=st.just("") | texts,
    )
    | st.builds(RejectedCall, service=texts, owner=optional_texts, generation=generations)
    | st.just(RenewCall())
    | st.builds(
        ChildCall,
        services=st.none() | scopes,
        scopes=st.none() | scopes,
        owner=optional_texts,
        actor=optional_texts,
        ttl=st.none() | seconds,
        key=optional_texts,
    )
)
requests = st.builds(
    Request,
    calls=st.lists(calls, min_size=1, max_size=8).map(tuple),
    sent_at=st.floats(0, frame.MAX_INSTANT),
    deadline_seconds=seconds,
)
replies = st.builds(
    Reply,
    code=st.sampled_from(Code),
    service=st.just("") | texts,
    access_token=optional_texts,
    token_type=optional_texts,
    expires_at=st.none() | st.floats(0, frame.MAX_INSTANT),
    expires_in=st.none() | seconds,
    scopes=st.just(()) | scopes,
    generation=st.none() | generations,
    reason=st.just("") | texts,
    connect_url=optional_texts,
    missing_scopes=st.just(()) | scopes,
    retry_after=st.none() | seconds,
)


def request_fields(**changes: object) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "v": 1,
        "sent_at": 1.8e9,
        "deadline": 10.0,
        "calls": [{"op": "token", "service": "slack-post"}],
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def reply_body(**changes: object) -> bytes:
    return packed({"v": 1, "replies": [[0, {"code": "ok"} | changes]]})


def packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))


def call_body(**fields: object) -> bytes:
    return packed(request_fields(calls=[fields]))


def with_pair(packed_map: bytes, key: bytes, value: bytes) -> bytes:
    return bytes([packed_map[0] + 1]) + packed_map[1:] + key + value


def map_of(*pairs: tuple[bytes, bytes]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


@given(requests)
def test_a_request_comes_out_as_it_went_in(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(st.lists(st.tuples(st.integers(0, protocol.MAX_CALLS - 1), replies), max_size=8))
def test_replies_come_out_as_they_went_in(pairs: list[tuple[int, Reply]]) -> None:
    assert decode_replies(encode_replies(pairs)) == pairs


@given(st.binary(max_size=200))
def test_garbage_is_malformed_and_nothing_worse(body: bytes) -> None:
    for decode in (decode_request, decode_replies):
        with contextlib.suppress(MalformedFrame):
            decode(body)


@given(requests, st.data())
def test_a_damaged_request_is_read_or_malformed_and_nothing_worse(
    request: Request, data: st.DataObject
) -> None:
    body = bytearray(encode_request(request))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(MalformedFrame):
        decode_request(bytes(body))


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(["v", "sent_at", "deadline", "calls"]), json_like)
def test_any_value_in_a_requests_field_is_read_or_malformed(name: str, value: object) -> None:
    with contextlib.suppress(MalformedFrame):
        decode_request(packed(request_fields(**{name: value})))


@given(st.sampled_from([field.name for field in dataclasses.fields(Reply)]), json_like)
def test_a_reply_that_is_read_has_the_types_it_claims(name: str, value: object) -> None:
    try:
        [(_, reply)] = decode_replies(reply_body(**{name: value}))
    except MalformedFrame:
        return
    assert isinstance(reply.access_token, str | None)
    assert isinstance(reply.expires_in, float | None)
    assert isinstance(reply.generation, int | None)
    assert all(isinstance(scope, str) for scope in (*reply.scopes, *reply.missing_scopes))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"v": ...},
        {"sent_at": ...},
        {"sent_at": "1"},
        {"sent_at": frame.MAX_INSTANT * 2},
        {"deadline": ...},
        {"deadline": -1},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"deadline": 1e300},
        {"deadline": True},
        {"deadline": "10"},
        {"calls": ...},
        {"calls": []},
        {"calls": {}},
        {"calls": [[]]},
        {"calls": ["token"]},
        {"calls": [{"op": "renew"}] * (protocol.MAX_CALLS + 1)},
        {"later": 1},
    ],
    ids=str,
)
def test_a_request_with_a_wrong_field_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedFrame):
        decode_request(packed(request_fields(**changes)))


@pytest.mark.parametrize(
    "call",
    [
        {"service": "slack-post"},
        {"op": "steal", "service": "slack-post"},
        {"op": "token"},
        {"op": "token", "service": 1},
        {"op": "token", "service": "\0"},
        {"op": "token", "service": "ä" * 3000},
        {"op": "token", "service": "s", "owner": 1},
        {"op": "token", "service": "s", "min_ttl": -1},
        {"op": "token", "service": "s", "min_ttl": 1e9},
        {"op": "token", "service": "s", "scopes": "a b"},
        {"op": "token", "service": "s", "scopes": [1]},
        {"op": "token", "service": "s", "scopes": ["a"] * 300},
        {"op": "token", "service": "s", "generation": 1},
        {"op": "rejected", "service": "s"},
        {"op": "rejected", "service": "s", "generation": "1"},
        {"op": "rejected", "service": "s", "generation": True},
        {"op": "rejected", "service": "s", "generation": -1},
        {"op": "rejected", "service": "s", "generation": 2**63},
        {"op": "renew", "service": "s"},
        {"op": "child", "services": []},
        {"op": "child", "scopes": []},
        {"op": "child", "services": "a b"},
        {"op": "child", "services": [1]},
        {"op": "child", "ttl": -1},
        {"op": "child", "actor": 1},
        {"op": "child", "service": "s"},
    ],
    ids=lambda call: str(call)[:60],
)
def test_a_call_with_a_wrong_field_is_refused(call: dict[str, object]) -> None:
    with pytest.raises(MalformedFrame):
        decode_request(call_body(**call))


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "later"},
        {"code": None},
        {"access_token": 1},
        {"expires_in": "3600"},
        {"expires_in": float("nan")},
        {"expires_at": 1e12},
        {"generation": 1.5},
        {"scopes": "a b"},
        {"missing_scopes": [None]},
    ],
    ids=str,
)
def test_a_reply_with_a_wrong_field_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedFrame):
        decode_replies(reply_body(**changes))


@pytest.mark.parametrize(
    "pair", [[], [0], [-1, {"code": "ok"}], [64, {"code": "ok"}], [True, {"code": "ok"}], [0, []]]
)
def test_a_pair_without_a_calls_index_is_refused(pair: object) -> None:
    with pytest.raises(MalformedFrame):
        decode_replies(packed({"v": 1, "replies": [pair]}))


def test_an_old_client_passes_over_a_replys_later_fields() -> None:
    assert decode_replies(reply_body(later=[1])) == [(0, Reply(code=Code.OK))]


@pytest.mark.parametrize(
    "value",
    [
        msgpack.ExtType(5, b""),
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(1, 0),
        b"x",
        ["a"] * 257,
        [[["a"]]],
    ],
    ids=["empty extension", "extension", "timestamp", "bytes", "a long list", "deep lists"],
)
def test_even_a_later_field_has_only_plain_values(value: object) -> None:
    with pytest.raises(MalformedFrame):
        decode_replies(reply_body(later=value))


def test_a_key_twice_is_refused_in_any_map() -> None:
    fields = with_pair(packed({"code": "ok"}), packed("code"), packed("denied"))
    with pytest.raises(MalformedFrame):
        decode_replies(packed({"v": 1, "replies": [[0, 0]]})[:-1] + fields)


LATER = packed("later")


@pytest.mark.parametrize(
    "later",
    [
        (LATER, b"\x01", LATER, b"\x02"),
        (LATER, b"\xc0", LATER, b"\xc0"),
        (packed("code"), b"\xc0"),
        (b"\xc4\x00", b"\x01"),
        (b"\xc4\x00", b"\xc0"),
        (LATER, map_of((LATER, b"\x01"), (LATER, b"\x02"))),
        (LATER, map_of((b"\xc4\x00", b"\x01"))),
    ],
    ids=[
        "unknown, twice",
        "nil, twice",
        "known, then nil",
        "bytes for a key",
        "bytes for a key of nil",
        "twice, inside",
        "bytes for a key, inside",
    ],
)
def test_a_field_that_is_passed_over_is_looked_at_all_the_same(later: tuple[bytes, ...]) -> None:
    pairs = [(packed("code"), packed("ok")), *zip(later[::2], later[1::2], strict=True)]
    with pytest.raises(MalformedFrame):
        decode_replies(packed({"v": 1, "replies": [[0, 0]]})[:-1] + map_of(*pairs))
    with pytest.raises(MalformedFrame):
        decode_replies(map_of(*pairs, (b"\xa1v", b"\x01"), (packed("replies"), b"\x90")))


@pytest.mark.parametrize(
    "pair",
    [
        (packed("service"), packed("slack-post")),
        (packed("service"), b"\xc0"),
        (packed("op"), packed("token")),
        (b"\xc4\x00", b"\xc0"),
        (LATER, b"\xc0"),
    ],
    ids=["twice", "twice, then nil", "its op, twice", "bytes for a key", "unknown, and nil"],
)
def test_a_calls_fields_are_those_it_has_each_once(pair: tuple[bytes, bytes]) -> None:
    body = call_body(op="token", service="slack-post")
    call = packed({"op": "token", "service": "slack-post"})
    assert body.endswith(call)
    with pytest.raises(MalformedFrame):
        decode_request(body.removesuffix(call) + with_pair(call, *pair))


def test_nil_is_as_good_as_no_field() -> None:
    unset = dict.fromkeys(("owner", "min_ttl", "scopes", "purpose"))
    assert decode_request(call_body(op="token", service="s", **unset)).calls == (TokenCall(service="s"),)
    named = [field.name for field in dataclasses.fields(Reply) if field.name != "code"]
    assert decode_replies(reply_body(**dict.fromkeys(named))) == [(0, Reply(code=Code.OK))]


@given(replies)
def test_a_reply_that_was_read_is_one_like_any_other(reply: Reply) -> None:
    [(_, read)] = decode_replies(encode_replies([(0, reply)]))
    assert (hash(read), repr(read)) == (hash(reply), repr(reply))
    assert dataclasses.replace(read, code=Code.DENIED) == dataclasses.replace(reply, code=Code.DENIED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.code = Code.OK  # type: ignore[misc]


def test_a_reply_may_hold_a_token_longer_than_other_texts() -> None:
    reply = Reply(code=Code.OK, access_token="t" * 20_000)
    assert decode_replies(encode_replies([(0, reply)])) == [(0, reply)]


def test_a_long_reason_does_not_lose_the_reply() -> None:
    reply = Reply(code=Code.NOT_FOUND, reason=f"There is no service {'s' * 5000}.")
    assert decode_replies(encode_replies([(3, reply)])) == [(3, reply)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        packed(None),
        packed([request_fields()]),
        packed(request_fields()) + b"\xc0",
        packed(request_fields())[:-1],
        with_pair(packed(request_fields()), b"\xa1v", b"\x01"),
        map_of((b"\x01", b"\x01")),
        map_of((b"\xc4\x00", b"\x01")),
        map_of((b"\x90", b"\x01")),
        map_of((b"\xa1v", packed(msgpack.ExtType(5, b"")))),
        map_of((b"\xa1v", packed(msgpack.ExtType(5, b"x" * 16)))),
        map_of((b"\xa1v", packed(msgpack.Timestamp(1, 0)))),
        map_of((b"\xa1v", b"\xa2\xff\xff")),
        packed(request_fields(calls=[{"op": "token", "service": "s", "scopes": [[[[["a"]]]]]}])),
    ],
    ids=[
        "empty",
        "a byte that msgpack never uses",
        "no map",
        "a list",
        "something behind it",
        "cut off",
        "a key twice",
        "a number for a key",
        "bytes for a key",
        "a list for a key",
        "an empty extension",
        "an extension",
        "a timestamp",
        "no UTF-8",
        "too deep",
    ],
)
def test_a_body_that_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_request(body)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * (protocol.MAX_BODY_BYTES - 1) + b"\xc0",
        b"\x81\xa1v" * 5000 + b"\xc0",
        b"\xdd" + struct.pack(">I", 2**32 - 1),
        b"\xdf" + struct.pack(">I", 2**32 - 1),
        b"\xdb" + struct.pack(">I", 2**32 - 1),
        b"\xc6" + struct.pack(">I", 2**32 - 1),
        b"\xc9" + struct.pack(">I", 2**32 - 1) + b"\x05",
        (b"\xdc\x01\x00" * 1000)[: protocol.MAX_BODY_BYTES],
    ],
    ids=[
        "lists in lists",
        "maps in maps",
        "list",
        "map",
        "text",
        "bytes",
        "extension",
        "wide lists in lists",
    ],
)
def test_a_bomb_is_refused_by_its_head(bomb: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_request(bomb)


def test_a_frame_over_its_size_is_refused_unread() -> None:
    for decode, limit in (
        (decode_request, protocol.MAX_BODY_BYTES),
        (decode_replies, protocol.MAX_REPLY_BYTES),
    ):
        with pytest.raises(MalformedFrame, match=str(limit)):
            decode(b"\xc1" * (limit + 1))


@pytest.mark.parametrize(
    "calls",
    [
        (),
        (RenewCall(),) * (protocol.MAX_CALLS + 1),
        tuple(TokenCall(service="s", purpose="p" * 4000) for _ in range(5)),
        (TokenCall(service="\ud800"),),
        (TokenCall(service="s", min_ttl=float("nan")),),
        (RejectedCall(service="s", generation=2**80),),
        (TokenCall(service=""),),
        (TokenCall(service="s", purpose="\ud800" * 2000),),
        (TokenCall(service="s", scopes=("a",) * 257),),
        (TokenCall(service="s", scopes=("a" * 4000,) * 5),),
    ],
    ids=[
        "none",
        "too many",
        "too large",
        "a lone surrogate",
        "not a number",
        "beyond 64 bits",
        "no service",
        "many lone surrogates",
        "too many scopes",
        "too large alone",
    ],
)
def test_what_would_be_refused_is_not_sent(calls: tuple[protocol.Call, ...]) -> None:
    with pytest.raises(MalformedFrame):
        encode_request(Request(sent_at=0.0, calls=calls))


@given(requests)
def test_calls_encoded_one_by_one_are_the_same_request(request: Request) -> None:
    calls = [encode_call(call) for call in request.calls]
    joined = join_calls(calls, sent_at=request.sent_at, deadline_seconds=request.deadline_seconds)
    assert joined == encode_request(request)


def test_a_call_that_can_be_encoded_fits_a_request_of_its_own() -> None:
    def call(purpose: int) -> TokenCall:
        return TokenCall(service="s", scopes=("a" * 4000,) * 4, purpose="p" * purpose)

    largest = max(purpose for purpose in range(500) if not refused(call(purpose)))
    body = join_calls([encode_call(call(largest))], sent_at=1.8e9, deadline_seconds=10.0)
    assert len(body) == protocol.MAX_BODY_BYTES
    assert refused(call(largest + 1))


def refused(call: protocol.Call) -> bool:
    try:
        encode_call(call)
    except MalformedFrame:
        return True
    return False


def test_replies_too_large_for_one_message_are_not_sent() -> None:
    reply = Reply(code=Code.OK, access_token="t" * 9000)
    with pytest.raises(MalformedFrame):
        encode_replies(enumerate([reply] * 30))


def test_no_token_shows_in_a_frames_repr() -> None:
    assert "secret" not in repr(Reply(code=Code.OK, access_token="api-secret"))


def test_both_ends_speak_of_the_same_places() -> None:
    assert protocol.RPC_EXCHANGE == topology.RPC_EXCHANGE
    assert protocol.RPC_KEY == topology.RPC_KEY
    assert protocol.RPC_QUEUE == topology.RPC_QUEUE
    assert protocol.REPLY_PREFIX == topology.REPLY_PREFIX


@pytest.mark.parametrize("twin", [True, 1.0])
def test_a_call_is_not_taken_for_the_one_before_it_that_equals_it(twin):
    calls = [{"op": "rejected", "service": "slack-post", "generation": value} for value in (1, twin)]
    body = msgpack.packb({"v": 1, "sent_at": 1.0, "deadline": 1.0, "calls": calls})
    with pytest.raises(MalformedFrame):
        decode_request(body)


@pytest.mark.parametrize("twin", [{"min_ttl": True}, {"scopes": ["read"]}])
def test_a_call_is_not_sent_for_the_one_before_it_that_equals_it(twin):
    good = protocol.TokenCall(service="slack-post", min_ttl=1, scopes=("read",))
    protocol.encode_call(good)
    with pytest.raises(MalformedFrame):
        protocol.encode_call(dataclasses.replace(good, **twin))


def test_a_message_without_its_list_is_refused():
    with pytest.raises(MalformedFrame):
        protocol.decode_replies(msgpack.packb({"v": 1}))
