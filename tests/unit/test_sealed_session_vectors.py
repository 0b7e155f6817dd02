"""The examples of the specification are what this code says, and what another client makes of it."""

import json
from datetime import timedelta

import independent_client as independent
import msgpack
import pytest
from builders import NOW
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sealed_agent import SealedAgent
from sealed_session_vectors import FILE, PLACE, vectors

from dispenser import agent_key, keyset, opening, sealed_frame, sealed_session
from dispenser.opening import Opened
from dispenser.protocol import Code, Reply, decode_request
from dispenser.sealed_frame import Kind, Refused
from dispenser.sealed_session import SealedSession, SessionKeys

EXAMPLES = json.loads(FILE.read_text())
AT = independent.place(**EXAMPLES["place"])
TOKEN = EXAMPLES["vault_token"]


def octets(name: str, part: str = "body") -> bytes:
    return bytes.fromhex(EXAMPLES[name][part])


def test_the_examples_are_what_the_code_makes() -> None:
    assert vectors() == EXAMPLES


def test_another_client_reads_the_keyset() -> None:
    [key] = independent.read_keyset(octets("keyset"), TOKEN)
    [same] = keyset.verified(octets("keyset"), TOKEN, EXAMPLES["now"])
    assert (key["id"], key["public"]) == (same.id, same.public)
    assert key["public"] == octets("keys", "transport_public")


def test_a_dispenser_opens_another_clients_opening() -> None:
    private = X25519PrivateKey.from_private_bytes(octets("keys", "transport_private"))
    shown, proven = opening.unseal(sealed_frame.read_opening(octets("opening")), private, PLACE)
    agent = Ed25519PrivateKey.from_private_bytes(octets("keys", "agent_private"))
    assert (shown.vault_token, shown.secret) == (TOKEN, octets("keys", "session_secret"))
    assert proven == agent_key.thumbprint(agent.public_key())


def test_both_derive_one_sessions_keys() -> None:
    keys = sealed_session.derived(octets("keys", "session_secret"), octets("opening"))
    assert keys == SessionKeys(octets("keys", "request_key"), octets("keys", "reply_key"))
    request_key, reply_key = independent.session_keys(octets("keys", "session_secret"), octets("opening"))
    nonce = bytes(12)
    assert request_key.encrypt(nonce, b"", b"") == AESGCM(keys.request_key).encrypt(nonce, b"", b"")
    assert reply_key.encrypt(nonce, b"", b"") == AESGCM(keys.reply_key).encrypt(nonce, b"", b"")


def test_another_client_reads_what_dispensers_answer() -> None:
    key = AESGCM(octets("keys", "reply_key"))
    opened = independent.read_answer(key, octets("opening"), octets("opened"))
    assert opened == msgpack.unpackb(octets("opened", "plain"))
    replies = independent.read_answer(key, octets("request"), octets("replies"))
    assert replies == msgpack.unpackb(octets("replies", "plain"))
    with pytest.raises(InvalidTag):
        independent.read_answer(key, octets("opening"), octets("replies"))


def test_this_client_reads_what_dispensers_answer() -> None:
    agent = SealedAgent(PLACE, opened=EXAMPLES["opening"]["correlation_id"])
    agent.sealed = SealedSession(SessionKeys(octets("keys", "request_key"), octets("keys", "reply_key")))
    opened = agent.hear(octets("opened"))
    assert isinstance(opened, Opened)
    assert timedelta(seconds=opened.life_seconds) <= timedelta(minutes=15)
    [(index, reply)] = agent.replies(EXAMPLES["request"]["correlation_id"], octets("replies"))
    assert (index, reply.code, reply.access_token) == (0, Code.OK, "at-example")


def test_both_make_one_request() -> None:
    frame = sealed_frame.read_request(octets("request"))
    session = SealedSession(SessionKeys(octets("keys", "request_key"), octets("keys", "reply_key")))
    plain = session.open_request(frame, PLACE)
    assert plain == octets("request", "plain")
    assert decode_request(plain).sent_at == NOW.timestamp()
    key = AESGCM(octets("keys", "request_key"))
    fields = msgpack.unpackb(plain)
    assert independent.request(key, frame.ticket, AT, frame.nonce, fields) == octets("request")


def test_the_refusal_is_a_word() -> None:
    assert sealed_frame.kind(octets("refusal")) is Kind.REFUSAL
    assert sealed_frame.read_refusal(octets("refusal")) is Refused.UNKNOWN_TICKET


@pytest.mark.parametrize("bound", [True, False])
def test_another_client_has_a_whole_conversation_with_a_dispenser(bound: bool) -> None:
    """Not only the examples: whatever this code answers today."""
    key = octets("keys", "agent_private") if bound else None
    to = independent.read_keyset(octets("keyset"), TOKEN)[0]
    shown = {"v": 1, "token": TOKEN, "secret": b"s" * 32, "sent_at": 1.8e9}
    body = independent.opening(to, AT, shown, b"e" * 32, key)
    private = X25519PrivateKey.from_private_bytes(octets("keys", "transport_private"))
    seen, proven = opening.unseal(sealed_frame.read_opening(body), private, PLACE)
    assert (proven is not None) == bound
    session = SealedSession(sealed_session.derived(seen.secret, body))
    answer = session.seal_answer(
        Kind.OPENED,
        sealed_frame.identifier(body),
        opening.encode_unopened(Reply(code=Code.UNAUTHENTICATED, reason="Revoked.")),
        b"n" * 12,
    )
    _, reply_key = independent.session_keys(b"s" * 32, body)
    [[index, refusal]] = independent.read_answer(reply_key, body, answer)["replies"]
    assert (index, refusal) == (0, {"code": "unauthenticated", "reason": "Revoked."})
