"""Events tell of transitions, both ways, and of nothing twice."""

from datetime import UTC, datetime

import pytest

from shared.messages import EventType
from shared.model import Grant, GrantId, GrantState, Owner, ServiceName
from shared.ports import Failure
from workers import lifecycle

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ACTIVE, FAILING = GrantState.ACTIVE, GrantState.REFRESH_FAILING
UNKNOWN, REAUTH = GrantState.UNKNOWN, GrantState.REAUTH_REQUIRED


def grant(state: GrantState) -> Grant:
    return Grant(
        id=GrantId("g"), service=ServiceName("s"), owner=Owner("o"), state=state, generation=7, scopes=(),
        sealed_credential=b"x", credential_fingerprint=b"f", sealed_token=b"t", token_expires_at=NOW,
        refresh_at=NOW, failures=0, last_error=None, created_at=NOW, updated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (ACTIVE, ACTIVE, []),
        (ACTIVE, FAILING, [EventType.REFRESH_FAILED]),
        (FAILING, FAILING, []),
        (ACTIVE, UNKNOWN, [EventType.REFRESH_FAILED]),
        (UNKNOWN, UNKNOWN, []),
        (ACTIVE, REAUTH, [EventType.REAUTH_REQUIRED]),
        (UNKNOWN, REAUTH, [EventType.REAUTH_REQUIRED]),
    ],
)
def test_trouble_is_told_when_it_begins_or_deepens(
    before: GrantState, after: GrantState, told: list[EventType]
):
    failure = Failure(state=after, error="code", refresh_at=None)
    assert [event.type for event in lifecycle.failed(grant(before), failure, "cause", NOW)] == told


def test_who_needs_the_owner_says_where_to_send_him():
    failure = Failure(state=REAUTH, error="invalid_grant", refresh_at=None)
    [event] = lifecycle.failed(grant(ACTIVE), failure, "cause", NOW, "https://vault.example/v1/connect/s")
    assert event.details == {
        "error": "invalid_grant",
        "state": "reauth_required",
        "connect_url": "https://vault.example/v1/connect/s",
    }


@pytest.mark.parametrize("state", [FAILING, UNKNOWN])
def test_a_token_ends_trouble(state: GrantState):
    told = [event.type for event in lifecycle.renewed(grant(state), 8, "cause", NOW)]
    assert told == [EventType.REFRESHED, EventType.RECOVERED]
    assert [event.type for event in lifecycle.renewed(grant(ACTIVE), 8, "cause", NOW)] == told[:1]


@pytest.mark.parametrize("state", [FAILING, UNKNOWN, REAUTH])
def test_so_does_an_owner(state: GrantState):
    [event] = lifecycle.connected(grant(ACTIVE), grant(state), "cause", NOW)
    assert event.type is EventType.RECOVERED


@pytest.mark.parametrize("before", [None, grant(ACTIVE), grant(GrantState.REVOKED)])
def test_a_connection_without_trouble_before_it_is_just_one(before: Grant | None):
    [event] = lifecycle.connected(grant(ACTIVE), before, "cause", NOW)
    assert event.type is EventType.CONNECTED
