"""An opening is read by whom it is sealed to, at its place; its proof is of the agent's key and of it."""

from dataclasses import replace

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st
from sealed_agent import PLACE

from dispenser import agent_key, opening, sealed_frame
from dispenser.frame import MalformedFrame
from dispenser.opening import PROOF_LABEL, SEALED_LABEL, Opened, Opening
from dispenser.place import Place
from dispenser.protocol import Code, Reply
from dispenser.sealed_session import Unopened

PRIVATE = X25519PrivateKey.from_private_bytes(b"t" * 32)
KEY_ID = b"key-id-8"
AGENT = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
SHOWN = Opening(vault_token="vault.token.secret", secret=b"s" * 32, sent_at=1.8e9)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def sealed(key: Ed25519PrivateKey | None = None) -> bytes:
    return opening.seal(SHOWN, PUBLIC, KEY_ID, PLACE, key)


def unsealed(body: bytes, place: Place = PLACE) -> tuple[Opening, str | None]:
    return opening.unseal(sealed_frame.read_opening(body), PRIVATE, place)


def by_hand(plain: bytes) -> bytes:
    info = SEALED_LABEL + KEY_ID + PLACE.octets
    return sealed_frame.opening(KEY_ID, SUITE.encrypt(plain, PRIVATE.public_key(), info))


def packed(**changes: object) -> bytes:
    fields = {"v": 1, "token": "t", "secret": b"s" * 32, "sent_at": 1.0} | changes
    return bytes(msgpack.packb({name: value for name, value in fields.items() if value is not ...}))


PROVEN = sealed(AGENT)


def test_what_an_agent_shows_is_read_and_hidden_on_the_way() -> None:
    assert unsealed(sealed()) == (SHOWN, None)
    assert b"vault.token" not in sealed()


def test_no_secret_shows_in_an_openings_repr() -> None:
    assert "secret" not in repr(SHOWN)
    assert "ticket" not in repr(Opened(ticket=b"ticket", life_seconds=1.0))


def test_a_proof_names_the_key_that_made_it() -> None:
    assert unsealed(PROVEN) == (SHOWN, agent_key.thumbprint(AGENT.public_key()))


@given(st.integers(16, 8 * len(PROVEN) - 1))
def test_an_opening_with_any_bit_flipped_does_not_open(bit: int) -> None:
    changed = bytearray(PROVEN)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unopened):
        unsealed(bytes(changed))


@given(st.integers(2, len(PROVEN) - 1))
def test_an_opening_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(Unopened):
        unsealed(PROVEN[:length])


@pytest.mark.parametrize("part", ["vhost", "queue", "user", "reply_to"])
def test_an_opening_opens_at_no_other_place(part: str) -> None:
    with pytest.raises(Unopened):
        unsealed(PROVEN, replace(PLACE, **{part: "another"}))


def test_an_opening_opens_with_no_other_key() -> None:
    with pytest.raises(Unopened):
        opening.unseal(sealed_frame.read_opening(PROVEN), X25519PrivateKey.generate(), PLACE)


def proof(signed: bytes, key: Ed25519PrivateKey = AGENT) -> bytes:
    return b"\1" + AGENT.public_key().public_bytes_raw() + key.sign(PROOF_LABEL + signed)


BOUND = KEY_ID + PLACE.octets


@pytest.mark.parametrize(
    "made",
    [
        proof(BOUND + packed(), Ed25519PrivateKey.generate()),
        proof(BOUND + packed(token="another")),
        proof(BOUND + packed(secret=b"S" * 32)),
        proof(b"another!" + PLACE.octets + packed()),
        proof(KEY_ID + replace(PLACE, vhost="another").octets + packed()),
    ],
    ids=["another key", "another token", "another secret", "another transport key", "another place"],
)
def test_a_proof_of_something_else_is_none(made: bytes) -> None:
    """As whoever steals a vault token, or gets somebody to sign something, would try."""
    with pytest.raises(Unopened):
        unsealed(by_hand(made + packed()))
    assert unsealed(by_hand(proof(BOUND + packed()) + packed()))[1] is not None


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\2" + packed(),
        b"\1" + packed(),
        b"\1" + bytes(96),
        b"\0",
        b"\0" + packed(v=2),
        b"\0" + packed(token=...),
        b"\0" + packed(token=b"t"),
        b"\0" + packed(secret=...),
        b"\0" + packed(secret=b"s" * 31),
        b"\0" + packed(secret=b"s" * 33),
        b"\0" + packed(secret="s" * 32),
        b"\0" + packed(sent_at="now"),
        b"\0" + packed(later=1),
    ],
)
def test_what_is_no_opening_inside_is_malformed(plain: bytes) -> None:
    with pytest.raises(MalformedFrame):
        unsealed(by_hand(plain))


@pytest.mark.parametrize(
    "answer",
    [Opened(ticket=b"ticket", life_seconds=900.0), Reply(code=Code.UNAUTHENTICATED, reason="Revoked.")],
)
def test_an_answer_comes_out_as_it_went_in(answer: Opened | Reply) -> None:
    plain = opening.encode_opened(answer) if isinstance(answer, Opened) else opening.encode_unopened(answer)
    assert opening.decode_answer(plain) == answer


@pytest.mark.parametrize(
    "answer",
    [
        {"v": 1, "replies": []},
        {"v": 1, "replies": [[0, {"code": "denied"}], [1, {"code": "denied"}]]},
        {"v": 1, "ticket": "text", "life": 1.0},
        {"v": 1, "ticket": b"t", "life": -1.0},
        {"v": 1, "life": 1.0},
    ],
    ids=str,
)
def test_an_answer_of_another_shape_is_malformed(answer: dict[str, object]) -> None:
    with pytest.raises(MalformedFrame):
        opening.decode_answer(msgpack.packb(answer))
