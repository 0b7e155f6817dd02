"""What an agent is told: a token for as long as it may keep it, or what happened and what to do next."""

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, an_identity
from hypothesis import given
from hypothesis import strategies as st

from dispenser import replies
from dispenser.decision import Refuse
from dispenser.protocol import RETRYABLE, Code, Reply, decode_replies, encode_replies
from shared.expiry import SKEW_SECONDS
from shared.model import AccessToken, GrantId, ServiceName
from shared.secret import Secret

TRACKER = ServiceName("time-tracker")
CONNECT = "https://vault.example/v1/connect/time-tracker"


def token(left: float | None = 3601.0, **changes: Any) -> AccessToken:
    """With so many seconds left; None: it does not end."""
    values = {
        "value": Secret("at-CANARY"),
        "token_type": "Bearer",
        "scopes": ("tasks:write",),
        "issued_at": NOW,
        "expires_at": None if left is None else NOW + timedelta(seconds=left),
        "generation": 3,
        "grant_id": GrantId("g1"),
    }
    return AccessToken(**values | changes)


def test_a_token_goes_out_with_all_that_is_known_of_it() -> None:
    assert replies.handed(TRACKER, token(), None, NOW) == Reply(
        code=Code.OK,
        service="time-tracker",
        access_token="at-CANARY",
        token_type="Bearer",
        expires_in=3600.0,
        expires_at=(NOW + timedelta(seconds=3600)).timestamp(),
        scopes=("tasks:write",),
        generation=3,
    )


@pytest.mark.parametrize(
    ("left", "max_ttl", "kept"),
    [
        (3601, None, 3600),
        (3601, 60, 60),
        (61, 3600, 60),
        (None, 60, 60),
        (None, None, None),
        (3601, 0, 0),
        (-5, None, 0),
    ],
)
def test_an_agent_keeps_a_token_as_long_as_it_lives_and_its_policy_allows(
    left: float | None, max_ttl: int | None, kept: float | None
) -> None:
    assert replies.handed(TRACKER, token(left), max_ttl, NOW).expires_in == kept


@given(st.none() | st.floats(-1e6, 1e8), st.none() | st.integers(0, 10**8))
def test_nobody_is_told_more_life_than_there_is(left: float | None, max_ttl: int | None) -> None:
    reply = replies.handed(TRACKER, token(left), max_ttl, NOW)
    limits = [limit for limit in (left, max_ttl) if limit is not None]
    assert (reply.expires_in is None) == (not limits)
    if reply.expires_in is not None and reply.expires_at is not None:
        assert 0 <= reply.expires_in <= max(0.0, min(limits))
        assert reply.expires_at == pytest.approx(NOW.timestamp() + reply.expires_in, abs=1e-5)


def test_a_token_is_told_to_end_before_it_does() -> None:
    assert replies.handed(TRACKER, token(60), None, NOW).expires_in == 60 - SKEW_SECONDS


def test_a_vault_token_takes_the_place_of_an_access_token_and_its_life_counts_from_now() -> None:
    end = NOW + timedelta(minutes=15)
    reply = replies.vault_token("jwt", an_identity(issued_at=NOW - timedelta(seconds=5), expires_at=end), NOW)
    assert (reply.code, reply.access_token, reply.token_type) == (Code.OK, "jwt", "Bearer")
    assert (reply.expires_in, reply.expires_at) == (900.0, end.timestamp())


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_where_to_consent_is_told_where_consent_helps_and_nowhere_else(code: Code) -> None:
    reply = replies.refused(TRACKER, Refuse(code=code, reason="Because."), CONNECT)
    helps = code in {Code.REAUTH_REQUIRED, Code.INSUFFICIENT_SCOPE}
    assert reply.connect_url == (CONNECT if helps else None)


def test_a_refusal_passes_on_what_was_found_out() -> None:
    refusal = Refuse(
        code=Code.INSUFFICIENT_SCOPE, reason="Because.", missing_scopes=("admin",), retry_after_seconds=5.0
    )
    reply = replies.refused(TRACKER, refusal, CONNECT)
    assert (reply.reason, reply.missing_scopes, reply.retry_after) == ("Because.", ("admin",), 5.0)


def test_a_denial_says_the_same_of_whatever_it_is_about() -> None:
    one, other = replies.denied("time-tracker"), replies.denied("nothing")
    assert (one.code, one.reason, one.connect_url) == (other.code, other.reason, None)


REFUSALS = {
    "denied": replies.denied("s"),
    "not found": replies.not_found("s"),
    "unauthenticated": replies.unauthenticated("It has expired: renew it."),
    "deadline exceeded": replies.deadline_exceeded("s"),
    "overloaded": replies.overloaded("s", "The database is away."),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_a_reason_and_no_token(name: str) -> None:
    reply = REFUSALS[name]
    assert reply.code is not Code.OK
    assert reply.reason.endswith(".")
    assert (reply.access_token, reply.expires_at, reply.generation) == (None, None, None)


@pytest.mark.parametrize("name", REFUSALS)
def test_when_to_ask_again_is_told_where_asking_again_may_help(name: str) -> None:
    reply = REFUSALS[name]
    assert (reply.retry_after is not None) == (reply.code in RETRYABLE)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_survives_the_wire(name: str) -> None:
    assert decode_replies(encode_replies([(0, REFUSALS[name])])) == [(0, REFUSALS[name])]


def test_no_token_shows_in_a_repr() -> None:
    assert "CANARY" not in repr(replies.handed(TRACKER, token(), None, NOW))
