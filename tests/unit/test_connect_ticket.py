"""A link to a consent works for its service and owner, for its time, and cannot be made up."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from builders import KEYS, NOW, OTHER_KEYS, a_vault_token

from dispenser.connect_ticket import InvalidTicket, connect_url, mint, verify
from shared.envelope import seal_verifier
from shared.model import Owner, ServiceName

SLACK, ADA = ServiceName("slack-post"), Owner("ada")
END = (NOW + timedelta(hours=1)).replace(microsecond=0)
TICKET = mint(KEYS, SLACK, ADA, expires_at=END)


def test_a_ticket_is_good_for_what_it_was_made_for() -> None:
    verify(KEYS, TICKET, SLACK, ADA, now=NOW)
    verify(KEYS, mint(KEYS, SLACK, ADA, expires_at=END), SLACK, ADA, now=END - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("service", "owner"), [("time-tracker", "ada"), ("slack-post", "grace"), ("slack-posta", "da")]
)
def test_a_ticket_is_good_for_nothing_else(service: str, owner: str) -> None:
    with pytest.raises(InvalidTicket, match="not one for this service and owner"):
        verify(KEYS, TICKET, ServiceName(service), Owner(owner), now=NOW)


def test_a_ticket_ends() -> None:
    with pytest.raises(InvalidTicket, match="expired"):
        verify(KEYS, TICKET, SLACK, ADA, now=END)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "ä",
        "=" * 8,
        TICKET[:-4],
        TICKET + "AAAA",
        TICKET.swapcase(),
        "A" * 10_000,
        a_vault_token(),
        mint(OTHER_KEYS, SLACK, ADA, expires_at=END),
        seal_verifier(KEYS, b"", SLACK, ADA, "v").hex(),
    ],
)
def test_anything_else_is_no_ticket(text: str) -> None:
    with pytest.raises(InvalidTicket):
        verify(KEYS, text, SLACK, ADA, now=NOW)


def test_the_link_carries_odd_names_unharmed() -> None:
    service, owner = ServiceName("a/b?c"), Owner("ada&ticket=x@é")
    parts = urlsplit(connect_url("https://vault.example", service, owner, TICKET))
    assert parts.path == "/v1/connect/a%2Fb%3Fc"
    assert parse_qs(parts.query) == {"owner": [owner], "ticket": [TICKET]}
