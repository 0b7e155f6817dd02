"""Whether an agent can have a token now: by what was found, what is wanted, and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser.decision import Hand, Refresh, Refuse, Want, decide, usable
from dispenser.protocol import Code
from shared.model import REFRESHABLE, AccessToken, Grant, GrantId, GrantState, Owner, ServiceName
from shared.secret import Secret

NOW = datetime(2026, 11, 24, tzinfo=UTC)
GRANT = Grant(
    id=GrantId("g"),
    service=ServiceName("s"),
    owner=Owner("o"),
    state=GrantState.ACTIVE,
    generation=1,
    scopes=("a", "b"),
    sealed_credential=None,
    credential_fingerprint=b"",
    sealed_token=None,
    token_expires_at=NOW + timedelta(seconds=3600),
    refresh_at=NOW + timedelta(seconds=2500),
    failures=0,
    last_error=None,
    created_at=NOW,
    updated_at=NOW,
)


def token(left: float | None, life: float = 3600.0) -> AccessToken:
    """With so many seconds left of so long a life; None: it does not expire."""
    expires_at = None if left is None else NOW + timedelta(seconds=left)
    issued_at = NOW if expires_at is None else expires_at - timedelta(seconds=life)
    return AccessToken(
        value=Secret("v"),
        token_type="Bearer",
        scopes=("a", "b"),
        issued_at=issued_at,
        expires_at=expires_at,
        generation=1,
        grant_id=GrantId("g"),
    )


@pytest.mark.parametrize(
    ("left", "life", "min_ttl", "good"),
    [
        (3000, 3600, None, True),
        (61.5, 3600, None, True),
        (60.5, 3600, None, False),  # a minute, and a second of skew
        (3, 6, None, True),  # a fifth of a short life
        (1.5, 6, None, False),
        (100, 3600, 60, True),
        (60.5, 3600, 60, False),
        (1.5, 3600, 0, True),
        (0.5, 3600, 0, False),  # the last second is not handed out
        (None, 0, 10**9, True),
    ],
)
def test_enough_life_is_what_is_stated_or_a_fifth_up_to_a_minute(
    left: float | None, life: float, min_ttl: float | None, good: bool
) -> None:
    assert usable(token(left, life), Want(min_ttl_seconds=min_ttl), NOW) is good


def test_scopes_must_be_among_those_granted() -> None:
    assert usable(token(1000), Want(scopes=frozenset({"a"})), NOW)
    assert not usable(token(1000), Want(scopes=frozenset({"a", "c"})), NOW)
    verdict = decide(GRANT, token(1000), Want(scopes=frozenset({"d", "a", "c"})), NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.missing_scopes) == (Code.INSUFFICIENT_SCOPE, ("c", "d"))


def test_without_a_grant_the_owner_has_to_connect() -> None:
    verdict = decide(None, None, Want(), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.code is Code.REAUTH_REQUIRED


def test_a_revoked_grant_hands_out_nothing_whatever_was_found() -> None:
    verdict = decide(replace(GRANT, state=GrantState.REVOKED), token(3000), Want(), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.code is Code.REAUTH_REQUIRED


@pytest.mark.parametrize(
    "state", [GrantState.REFRESH_FAILING, GrantState.REAUTH_REQUIRED, GrantState.UNKNOWN]
)
def test_a_token_still_good_is_handed_out_in_whatever_trouble_its_grant_is(state: GrantState) -> None:
    assert decide(replace(GRANT, state=state), token(3000), Want(), NOW) == Hand(token=token(3000))


def test_a_token_about_to_end_is_refreshed_and_serves_meanwhile() -> None:
    assert decide(GRANT, token(30), Want(), NOW) == Refresh(grant=GRANT, meanwhile=token(30))
    assert decide(GRANT, token(30), Want(min_ttl_seconds=60), NOW) == Refresh(grant=GRANT, meanwhile=None)
    assert decide(GRANT, None, Want(), NOW) == Refresh(grant=GRANT, meanwhile=None)


def test_more_life_than_the_provider_gives_is_not_waited_for() -> None:
    verdict = decide(GRANT, token(100, life=300), Want(min_ttl_seconds=600), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.code is Code.TTL_UNAVAILABLE


def test_a_provider_that_has_just_failed_is_not_asked_again_for_every_agent() -> None:
    failing = replace(GRANT, failures=1, refresh_at=NOW + timedelta(seconds=20))
    verdict = decide(failing, token(-5), Want(), NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_seconds) == (Code.PROVIDER_DOWN, 20.0)
    assert decide(failing, token(30), Want(), NOW) == Hand(token=token(30))
    assert isinstance(decide(replace(failing, refresh_at=NOW), None, Want(), NOW), Refresh)


@pytest.mark.parametrize("ends", [None, NOW + timedelta(seconds=100)])
def test_a_rejected_token_that_nothing_renews_is_its_owners_matter(ends: datetime | None) -> None:
    static = replace(GRANT, token_expires_at=ends, refresh_at=ends)
    verdict = decide(static, None, Want(), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.code is Code.REAUTH_REQUIRED


def test_a_token_that_nothing_renews_serves_to_its_end_and_is_not_waited_for() -> None:
    static = replace(GRANT, token_expires_at=NOW, refresh_at=NOW)
    assert decide(static, token(30), Want(), NOW) == Hand(token=token(30))
    for found, want, code in (
        (token(30), Want(min_ttl_seconds=60), Code.TTL_UNAVAILABLE),
        (token(-5), Want(), Code.REAUTH_REQUIRED),
    ):
        verdict = decide(static, found, want, NOW)
        assert isinstance(verdict, Refuse)
        assert verdict.code is code


def test_a_failing_grant_whose_next_try_falls_on_its_tokens_end_is_none_of_those() -> None:
    failing = replace(GRANT, failures=1, token_expires_at=NOW, refresh_at=NOW)
    assert isinstance(decide(failing, None, Want(), NOW), Refresh)


def test_consent_anew_names_the_providers_error_code() -> None:
    dead = replace(GRANT, state=GrantState.REAUTH_REQUIRED, last_error="invalid_grant")
    verdict = decide(dead, None, Want(), NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, "invalid_grant" in verdict.reason) == (Code.REAUTH_REQUIRED, True)


@given(
    state=st.sampled_from(GrantState),
    left=st.none() | st.floats(-1000, 5000),
    there=st.booleans(),
    min_ttl=st.none() | st.floats(0, 5000),
    failures=st.integers(0, 3),
    due=st.none() | st.floats(-100, 100),
)
def test_nothing_expired_is_handed_out_and_nothing_hopeless_refreshed(
    *,
    state: GrantState,
    left: float | None,
    there: bool,
    min_ttl: float | None,
    failures: int,
    due: float | None,
) -> None:
    refresh_at = None if due is None else NOW + timedelta(seconds=due)
    found = replace(GRANT, state=state, failures=failures, refresh_at=refresh_at)
    verdict = decide(found, token(left) if there else None, Want(min_ttl_seconds=min_ttl), NOW)
    match verdict:
        case Hand(token=handed):
            assert handed.expires_at is None or handed.expires_at > NOW
            assert state is not GrantState.REVOKED
        case Refresh(grant=due_grant):
            assert due_grant.state in REFRESHABLE
