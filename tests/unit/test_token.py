"""A token serves as a header and shows its value to nobody who did not ask."""

from datetime import UTC, datetime

import pytest

from dispenser import Token
from dispenser.client.token import from_reply
from dispenser.protocol import Code, Reply

SECRET = "xoxb-very-secret"


def token(token_type: str = "Bearer") -> Token:
    return Token(
        value=SECRET,
        token_type=token_type,
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        scopes=("chat:write",),
        service="slack-post",
        owner="ada",
        generation=7,
    )


@pytest.mark.parametrize(
    "shown", [repr(token()), str(token()), f"{token()}", f"{token()!r:>200}", f"{token():>200}"]
)
def test_whatever_shows_a_token_leaves_its_value_out(shown: str) -> None:
    assert SECRET not in shown
    assert "slack-post" in shown
    assert "generation=7" in shown


def test_a_tokens_attributes_cannot_be_changed_nor_its_value_be_met_in_vars() -> None:
    with pytest.raises(AttributeError):
        token().value = "other"  # type: ignore[misc]
    assert not hasattr(token(), "__dict__")


@pytest.mark.parametrize(
    ("token_type", "scheme"),
    [("bearer", "Bearer"), ("Bearer", "Bearer"), ("BEARER", "Bearer"), ("DPoP", "DPoP")],
)
def test_the_header_has_the_scheme_as_apis_expect_it(token_type: str, scheme: str) -> None:
    assert token(token_type).authorization == f"{scheme} {SECRET}"


def test_a_replys_token_has_an_aware_expiry() -> None:
    reply = Reply(code=Code.OK, access_token=SECRET, expires_at=0.0, scopes=("a",), generation=1)
    found = from_reply(reply, service="slack-post", owner=None)
    assert found.expires_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert (found.value, found.token_type, found.scopes, found.generation) == (SECRET, "Bearer", ("a",), 1)


def test_a_token_without_expiry_has_none() -> None:
    assert from_reply(Reply(code=Code.OK, access_token=SECRET), service="s", owner=None).expires_at is None


def test_ok_without_a_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="without a token"):
        from_reply(Reply(code=Code.OK), service="s", owner=None)
