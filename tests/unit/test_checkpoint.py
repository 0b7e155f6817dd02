"""A checkpoint is a signed note as C2SP has it: what is not signed by the key is none."""

import base64
import hashlib

import pytest
from builders import KEYS, OTHER_KEYS
from hypothesis import given
from hypothesis import strategies as st

from shared.checkpoint import Checkpoint, Verifier, notes_in, opened, origin, signed
from shared.merkle import EMPTY_ROOT

ORIGIN = origin("vault")
CHECKPOINT = Checkpoint(origin=ORIGIN, size=20852163, root=EMPTY_ROOT)
KEY = next(iter(KEYS.checkpoint_private.values()))
VERIFIER = Verifier(name=ORIGIN, key=KEY.public_key())
OTHER = Verifier(name=ORIGIN, key=next(iter(OTHER_KEYS.checkpoint_public.values())))
NOTE = signed(CHECKPOINT, KEY)


def test_a_note_is_laid_out_as_the_specification_says() -> None:
    text, signature = NOTE.split("\n\n")
    assert text.split("\n") == ["token-dispenser/vault", "20852163", base64.b64encode(EMPTY_ROOT).decode()]
    dash, name, encoded = signature.rstrip("\n").split(" ")
    named = ORIGIN.encode() + b"\n\x01" + KEY.public_key().public_bytes_raw()
    assert (dash, name) == ("—", ORIGIN)
    assert base64.b64decode(encoded)[:4] == hashlib.sha256(named).digest()[:4]
    KEY.public_key().verify(base64.b64decode(encoded)[4:], (text + "\n").encode())


def test_a_note_comes_back_by_its_key_alone() -> None:
    assert opened(NOTE, [OTHER, VERIFIER]) == CHECKPOINT
    assert opened(NOTE, [OTHER]) is None
    assert opened(NOTE, [Verifier(name="another", key=VERIFIER.key)]) is None
    assert opened(NOTE, []) is None


def test_a_witness_may_countersign() -> None:
    assert opened(NOTE + "— witness.example c2lnbmF0dXJl\n", [VERIFIER]) == CHECKPOINT


def test_any_bit_that_changes_in_a_note_makes_it_none() -> None:
    raw = NOTE.encode()
    for place in range(len(raw)):
        for bit in range(8):
            changed = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
            assert opened(changed.decode(errors="replace"), [VERIFIER]) in (None, CHECKPOINT)
            if place < raw.index(b"\n\n"):
                assert opened(changed.decode(errors="replace"), [VERIFIER]) is None, place


@pytest.mark.parametrize(
    "text", [f"{ORIGIN}\nmany\nAAAA\n", f"{ORIGIN}\n1\n!\n", f"{ORIGIN}\n01\n{'A' * 43}=\n"]
)
def test_what_is_signed_and_no_checkpoint_is_none(text: str) -> None:
    signature = base64.b64encode(VERIFIER.id + KEY.sign(text.encode())).decode()
    assert opened(f"{text}\n— {ORIGIN} {signature}\n", [VERIFIER]) is None


@given(st.text())
def test_garbage_is_no_checkpoint(text: str) -> None:
    assert opened(text, [VERIFIER]) is None
    assert [opened(note, [VERIFIER]) for note in notes_in(text)].count(None) == len(notes_in(text))


def test_notes_are_found_among_what_a_crash_has_torn() -> None:
    other = signed(Checkpoint(origin=ORIGIN, size=7, root=EMPTY_ROOT), KEY)
    assert notes_in(f"\n{NOTE}\n{other}") == [NOTE, other]
    assert notes_in(f"\n{NOTE[:-20]}\n{other}\n{NOTE[:30]}") in ([NOTE[:-20] + "\n", other], [other])
    assert notes_in("") == []


@pytest.mark.parametrize("vault", ["vault", "my vault + more", "dépôt/eu"])
def test_a_log_has_a_name_that_a_key_may_have(vault: str) -> None:
    assert not set(origin(vault)) & set(" +\n")
    assert opened(signed(Checkpoint(origin=origin(vault), size=1, root=EMPTY_ROOT), KEY), [VERIFIER]) in (
        None,
        Checkpoint(origin=ORIGIN, size=1, root=EMPTY_ROOT),
    )


def test_a_verifier_key_comes_back_from_its_text() -> None:
    parsed = Verifier.parse(f"{VERIFIER}\n")
    assert (parsed.name, parsed.id, str(parsed)) == (VERIFIER.name, VERIFIER.id, str(VERIFIER))


@pytest.mark.parametrize(
    "text",
    ["", "name", "a+b+c", str(VERIFIER)[:-4], str(VERIFIER).replace("vault", "other")],
    ids=["nothing", "a name", "no numbers", "cut short", "another name"],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words are the caller's
        Verifier.parse(text)
