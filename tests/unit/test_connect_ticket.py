"""A link to consent works for its service and owner, for an hour, and for nobody else's."""

import base64
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from builders import KEYS, NOW, OTHER_KEYS
from hypothesis import given
from hypothesis import strategies as st

from dispenser.connect_ticket import LIFETIME_SECONDS, InvalidTicket, connect_url, mint, verify
from shared import envelope
from shared.errors import KeyMissing
from shared.model import AccessToken, GrantId, Owner, ServiceName
from shared.secret import Secret

TRACKER, ADA = ServiceName("time-tracker"), Owner("ada")
END = (NOW + timedelta(seconds=LIFETIME_SECONDS)).replace(microsecond=0)
TICKET = mint(KEYS, TRACKER, ADA, expires_at=END)


def test_it_is_good_until_its_end() -> None:
    verify(KEYS, TICKET, TRACKER, ADA, now=END - timedelta(microseconds=1))
    with pytest.raises(InvalidTicket, match="expired"):
        verify(KEYS, TICKET, TRACKER, ADA, now=END)


@pytest.mark.parametrize(
    ("service", "owner"),
    [("slack-post", "ada"), ("time-tracker", "grace"), ("ada", "time-tracker"), ("", "")],
)
def test_it_is_good_for_nothing_else(service: str, owner: str) -> None:
    with pytest.raises(InvalidTicket):
        verify(KEYS, TICKET, ServiceName(service), Owner(owner), now=NOW)


def test_another_vaults_is_none() -> None:
    with pytest.raises(InvalidTicket):
        verify(KEYS, mint(OTHER_KEYS, TRACKER, ADA, expires_at=END), TRACKER, ADA, now=NOW)


def test_a_cached_token_of_the_same_two_is_none() -> None:
    token = AccessToken(
        value=Secret("at"),
        token_type="Bearer",
        scopes=(),
        issued_at=NOW,
        expires_at=END,
        generation=0,
        grant_id=GrantId("g"),
    )
    sealed = envelope.seal_token(KEYS, TRACKER, ADA, token)
    with pytest.raises(InvalidTicket):
        verify(KEYS, _text(sealed), TRACKER, ADA, now=NOW)


@given(st.integers(0, len(TICKET) - 1), st.sampled_from("abcXYZ019-_"))
def test_with_any_character_changed_it_is_none(place: int, character: str) -> None:
    changed = TICKET[:place] + character + TICKET[place + 1 :]
    if _bytes(changed) == _bytes(TICKET):  # the last character has spare bits
        return
    with pytest.raises(InvalidTicket):
        verify(KEYS, changed, TRACKER, ADA, now=NOW)


@given(st.text(max_size=300))
def test_garbage_is_none_and_is_not_repeated(garbage: str) -> None:
    with pytest.raises(InvalidTicket) as refusal:
        verify(KEYS, garbage, TRACKER, ADA, now=NOW)
    assert str(refusal.value) == "This link is not one for this service and owner."


def test_without_a_cache_key_none_is_made() -> None:
    with pytest.raises(KeyMissing):
        mint(replace(KEYS, cache={}), TRACKER, ADA, expires_at=END)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_link_leads_to_its_service_and_owner_whatever_they_are_called(service: str, owner: str) -> None:
    ticket = mint(KEYS, ServiceName(service), Owner(owner), expires_at=END)
    link = urlsplit(connect_url("https://vault.example", ServiceName(service), Owner(owner), ticket))
    assert (link.scheme, link.netloc, link.fragment) == ("https", "vault.example", "")
    assert link.path.count("/") == 3
    asked = parse_qs(link.query, keep_blank_values=True)
    assert asked == {"owner": [owner], "ticket": [ticket]}
    verify(KEYS, asked["ticket"][0], ServiceName(service), Owner(owner), now=NOW)


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
