"""A keyset is believed if whoever made the agent's own vault token has signed it, and only then."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import KEYS, OTHER_KEYS, a_vault_token
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dispenser import keyset
from dispenser.frame import MalformedFrame
from dispenser.keyset import MAX_SIGNERS, SKEW_SECONDS, PublicKey, Untrusted

NOW = 1.8e9
TODAY = PublicKey(id=b"today-id", public=b"t" * 32, begins_at=NOW - 100, ends_at=NOW + 100)
TOMORROW = PublicKey(id=b"tomorrow", public=b"m" * 32, begins_at=NOW + 100, ends_at=NOW + 300)
[SIGNER] = KEYS.signing_private.values()
[OTHER] = OTHER_KEYS.signing_private.values()
TOKEN = a_vault_token()
BODY = keyset.encode([TODAY, TOMORROW], [SIGNER])


def test_the_keys_come_out_as_they_went_in() -> None:
    assert keyset.verified(BODY, TOKEN, NOW) == (TODAY, TOMORROW)


@pytest.mark.parametrize("signers", [[OTHER, SIGNER], [SIGNER, OTHER]])
def test_while_the_signing_key_changes_tokens_of_both_believe_it(signers: list[Ed25519PrivateKey]) -> None:
    body = keyset.encode([TODAY], signers)
    assert (
        keyset.verified(body, TOKEN, NOW) == keyset.verified(body, a_vault_token(OTHER_KEYS), NOW) == (TODAY,)
    )


@pytest.mark.parametrize("signers", [[], [OTHER], [Ed25519PrivateKey.generate()] * MAX_SIGNERS])
def test_a_keyset_of_anybody_else_is_not_believed(signers: Sequence[Ed25519PrivateKey]) -> None:
    with pytest.raises(Untrusted, match="not signed"):
        keyset.verified(keyset.encode([TODAY], signers), TOKEN, NOW)


def test_the_vaults_name_beside_anothers_signature_is_not_believed() -> None:
    """The vault's public key is no secret."""
    forged = keyset.encode([TODAY], [OTHER])
    body = forged[:3] + SIGNER.public_key().public_bytes_raw() + forged[35:]
    with pytest.raises(Untrusted):
        keyset.verified(body, TOKEN, NOW)


def test_a_vault_token_is_no_signature_of_a_keyset() -> None:
    with pytest.raises(Untrusted):
        keyset.verified(BODY, "not.a.token", NOW)
    with pytest.raises(Untrusted):
        keyset.verified(BODY, "", NOW)


@given(st.integers(16, 8 * len(BODY) - 1))
def test_a_keyset_with_any_bit_flipped_is_not_believed(bit: int) -> None:
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Untrusted, MalformedFrame)):
        keyset.verified(bytes(changed), TOKEN, NOW)


@given(st.integers(0, len(BODY) - 1))
def test_a_keyset_cut_short_is_not_believed(length: int) -> None:
    with pytest.raises((Untrusted, MalformedFrame)):
        keyset.verified(BODY[:length], TOKEN, NOW)


@pytest.mark.parametrize(
    ("now", "believed"),
    [
        (NOW, True),
        (TOMORROW.ends_at + SKEW_SECONDS - 1, True),
        (TOMORROW.ends_at + SKEW_SECONDS, False),
        (NOW + 1e6, False),
    ],
)
def test_a_keyset_of_another_day_that_somebody_repeats_is_not_believed(now: float, believed: bool) -> None:
    if believed:
        assert keyset.verified(BODY, TOKEN, now)
    else:
        with pytest.raises(Untrusted, match="another day"):
            keyset.verified(BODY, TOKEN, now)


@pytest.mark.parametrize(
    ("now", "chosen"),
    [
        (TODAY.begins_at - 50, TODAY),
        (NOW, TODAY),
        (TODAY.ends_at, TOMORROW),
        (TOMORROW.ends_at, None),
    ],
)
def test_the_days_key_is_used_and_then_the_next(now: float, chosen: PublicKey | None) -> None:
    assert keyset.current((TOMORROW, TODAY), now) == chosen


@pytest.mark.parametrize("changes", [{"id": b"short"}, {"public": b"short"}, {"begins_at": -1.0}])
def test_a_key_of_another_shape_is_malformed(changes: dict[str, object]) -> None:
    body = keyset.encode([replace(TODAY, **changes)], [SIGNER])
    with pytest.raises(MalformedFrame):
        keyset.verified(body, TOKEN, NOW)


def test_more_signatures_than_a_vault_has_are_not_even_looked_at() -> None:
    with pytest.raises(MalformedFrame):
        keyset.verified(keyset.encode([TODAY], [SIGNER] * (MAX_SIGNERS + 1)), TOKEN, NOW)
