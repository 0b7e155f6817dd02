from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import (
    Grant,
    GrantId,
    GrantKind,
    GrantState,
    Intent,
    IntentId,
    OnReuse,
    Owner,
    Provider,
    ProviderName,
    Rotation,
    ServiceName,
)
from workers.decision import (
    AMBIGUITY_SECONDS,
    GRACE_FRACTION,
    LATE_SECONDS,
    SHORTEST_WAIT_SECONDS,
    Apply,
    HandBack,
    Park,
    Superseded,
    ends_enrolment,
    failure,
    hindrance,
    is_restored,
    lineage,
    may_send,
    resend_is_harmless,
)
from workers.outcome import RefusalKind, Refused

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PARENT, CHILD, STRANGER = b"parent", b"child", b"stranger"
GRANT = Grant(
    id=GrantId("g"), service=ServiceName("s"), owner=Owner("o"), state=GrantState.ACTIVE, generation=7,
    scopes=(), sealed_credential=b"x", credential_fingerprint=PARENT, sealed_token=b"t",
    token_expires_at=NOW + timedelta(hours=1), refresh_at=NOW, failures=0, last_error=None,
    created_at=NOW, updated_at=NOW,
)  # fmt: skip
INTENT = Intent(
    id=IntentId("i"), grant_id=GRANT.id, generation=7, fingerprint=PARENT, holder="r", opened_at=NOW
)
STRICT = Provider(name=ProviderName("strict"))
DENYING = replace(STRICT, rotation=Rotation(on_reuse=OnReuse.DENY))
GRACE = replace(STRICT, rotation=Rotation(grace_seconds=30))
LASTING = replace(STRICT, rotation=Rotation(rotates=False))
MACHINE = replace(STRICT, grant=GrantKind.CLIENT_CREDENTIALS)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("child", "generation", "stored", "verdict"),
    [
        (CHILD, 7, PARENT, Apply(7)),  # nothing has moved
        (PARENT, 7, PARENT, Apply(7)),  # no new credential, nothing has moved
        (CHILD, 9, PARENT, Apply(9)),  # others moved the generation and kept the parent
        (CHILD, 8, CHILD, Superseded()),  # committed before, the confirmation was lost
        (PARENT, 8, PARENT, Superseded()),  # a token of the same credential, and a later one is there
        (PARENT, 8, STRANGER, Superseded()),  # nothing that could be lost
        (CHILD, 8, STRANGER, Park()),  # the owner has connected anew meanwhile
    ],
)  # fmt: skip
def test_an_answer_is_the_child_of_what_was_redeemed(
    child: bytes, generation: int, stored: bytes, verdict: object
):
    grant = replace(GRANT, generation=generation, credential_fingerprint=stored)
    assert lineage(INTENT, child, grant) == verdict


@given(generation=st.integers(7, 9), stored=st.sampled_from([PARENT, CHILD, STRANGER]))
def test_a_new_credential_is_applied_parked_or_there_already(generation: int, stored: bytes):
    """A rotation that the provider has performed is never dropped."""
    grant = replace(GRANT, generation=generation, credential_fingerprint=stored)
    verdict = lineage(INTENT, CHILD, grant)
    assert verdict != Superseded() or stored == CHILD


@given(generation=st.integers(7, 9), stored=st.sampled_from([PARENT, CHILD, STRANGER]))
def test_nothing_but_the_parents_place_is_overwritten(generation: int, stored: bytes):
    grant = replace(GRANT, generation=generation, credential_fingerprint=stored)
    verdict = lineage(INTENT, CHILD, grant)
    assert not isinstance(verdict, Apply) or (stored == PARENT and verdict.generation == generation)


def test_a_revoked_grant_takes_no_answer_and_what_it_brought_goes_back():
    revoked = replace(GRANT, state=GrantState.REVOKED, generation=8, credential_fingerprint=b"")
    assert lineage(INTENT, CHILD, revoked) == HandBack()
    assert lineage(INTENT, PARENT, revoked) == Superseded()


def test_a_vanished_grant_takes_no_answer():
    assert lineage(INTENT, CHILD, None) == Superseded()


@pytest.mark.parametrize(
    ("grant", "generation", "why"),
    [
        (None, 7, "missing"),
        (GRANT, 6, "stale"),
        (GRANT, 8, "stale"),
        (replace(GRANT, state=GrantState.REAUTH_REQUIRED), 7, "state"),
        (replace(GRANT, state=GrantState.REVOKED), 7, "state"),
        (replace(GRANT, failures=1, refresh_at=after(5)), 7, "waiting"),
        (replace(GRANT, failures=1, refresh_at=NOW), 7, None),
        (replace(GRANT, refresh_at=after(500)), 7, None),  # an agent asks before its time: allowed
        (replace(GRANT, state=GrantState.UNKNOWN, failures=1, refresh_at=after(-1)), 7, None),
        (GRANT, 7, None),
    ],
)
def test_an_event_is_worth_a_rotation_or_not(grant: Grant | None, generation: int, why: str | None):
    assert hindrance(grant, generation, NOW) == why


@pytest.mark.parametrize(
    ("provider", "harmless"), [(STRICT, False), (GRACE, True), (LASTING, True), (MACHINE, True)]
)
def test_only_a_spent_token_is_dangerous_to_send_again(provider: Provider, harmless: bool):
    assert resend_is_harmless(provider) is harmless


@pytest.mark.parametrize(
    ("provider", "audited", "restored"),
    [(STRICT, 8, True), (GRACE, 8, True), (STRICT, 7, False), (LASTING, 8, False), (MACHINE, 8, False)],
)
def test_a_row_older_than_the_audit_is_not_believed(provider: Provider, audited: int, restored: bool):
    assert is_restored(replace(GRANT, generation=7), provider, audited) is restored


def fails(
    kind: RefusalKind, grant: Grant = GRANT, provider: Provider = STRICT, *, retry_after: float | None = None
) -> tuple[GrantState, float | None] | None:
    refused = Refused(kind=kind, code="code", retry_after_seconds=retry_after)
    found = failure(refused, grant, provider, now=NOW, entropy=0.999)
    if found is None:
        return None
    assert found.error == "code"
    wait = None if found.refresh_at is None else (found.refresh_at - NOW).total_seconds()
    return found.state, wait


def test_a_dead_credential_is_its_owners_matter():
    assert fails(RefusalKind.DEAD) == (GrantState.REAUTH_REQUIRED, None)


def test_a_refused_client_is_no_grants_fault():
    assert fails(RefusalKind.CLIENT_CONFIG) is None


@pytest.mark.parametrize(
    ("failures", "expires_in", "before", "then"),
    [
        (0, 3600, GrantState.ACTIVE, GrantState.ACTIVE),
        (1, 3600, GrantState.ACTIVE, GrantState.ACTIVE),
        (2, 3600, GrantState.ACTIVE, GrantState.REFRESH_FAILING),
        (0, 0, GrantState.ACTIVE, GrantState.REFRESH_FAILING),
        (9, 3600, GrantState.REFRESH_FAILING, GrantState.REFRESH_FAILING),
        (0, 3600, GrantState.UNKNOWN, GrantState.UNKNOWN),
    ],
)
def test_transient_faults_change_a_state_late(
    failures: int, expires_in: float, before: GrantState, then: GrantState
):
    grant = replace(GRANT, failures=failures, token_expires_at=after(expires_in), state=before)
    state, wait = fails(RefusalKind.TRANSIENT, grant) or (None, None)
    assert state is then
    assert wait is not None
    assert wait > 0


def test_waits_grow_and_end():
    waits = [(fails(RefusalKind.TRANSIENT, replace(GRANT, failures=n)) or (None, None))[1] for n in range(20)]
    known = [wait for wait in waits if wait is not None]
    assert len(known) == 20
    assert known == sorted(known)
    assert known[-1] <= 300


def test_retry_after_is_the_least_wait():
    assert fails(RefusalKind.RATE_LIMITED, retry_after=500) == (GrantState.ACTIVE, 500)


def test_an_ambiguous_answer_of_a_strict_provider_waits_for_the_tokens_end():
    assert fails(RefusalKind.AMBIGUOUS) == (GrantState.UNKNOWN, 3600 - LATE_SECONDS)


def test_with_nothing_left_to_lose_a_strict_provider_is_asked_soon():
    state, wait = fails(RefusalKind.AMBIGUOUS, replace(GRANT, token_expires_at=after(-5))) or (None, None)
    assert state is GrantState.UNKNOWN
    assert wait is not None
    assert 0 < wait <= 1


@pytest.mark.parametrize(
    ("provider", "code", "waits"),
    [
        (STRICT, "no_answer", True),
        (STRICT, "holder_gone", True),
        (STRICT, "http_504", True),  # a gateway gave up, and the provider perhaps not
        (STRICT, "http_500", False),  # it has answered: it is at nothing any more
        (STRICT, "connection_closed", False),  # nor is it here
        (DENYING, "no_answer", True),  # no token is in two requests at once
        (GRACE, "no_answer", False),  # the late one does no harm, and waiting does
        (LASTING, "no_answer", False),
    ],
)
def test_a_request_that_may_yet_be_carried_out_is_waited_for_where_a_token_is_good_for_one(
    provider: Provider, code: str, waits: bool
):
    refused = Refused(kind=RefusalKind.AMBIGUOUS, code=code)
    ended = replace(GRANT, token_expires_at=after(-5))
    found = failure(refused, ended, provider, now=NOW, entropy=0.999, asked_at=after(-20))
    assert found is not None
    assert found.refresh_at is not None
    assert (found.refresh_at >= after(-20 + AMBIGUITY_SECONDS)) is waits


def test_a_request_that_a_clock_ahead_has_sent_is_waited_for_no_longer():
    refused = Refused(kind=RefusalKind.AMBIGUOUS, code="no_answer")
    ended = replace(GRANT, token_expires_at=after(-5))
    found = failure(refused, ended, STRICT, now=NOW, entropy=0.999, asked_at=after(3600))
    assert found is not None
    assert found.refresh_at == after(AMBIGUITY_SECONDS)
    assert found.unsure_since == NOW


@given(failures=st.integers(0, 50), since=st.integers(0, 20))
def test_an_ambiguous_answer_is_asked_for_again_inside_the_grace(failures: int, since: int):
    """However often it has been asked for, and with time for one repetition more."""
    grant = replace(GRANT, failures=failures, unsure_since=after(-since))
    state, wait = fails(RefusalKind.AMBIGUOUS, grant, GRACE) or (None, None)
    assert state is not GrantState.UNKNOWN
    assert wait is not None
    assert wait <= max((GRACE_FRACTION * 30 - since) / 2, SHORTEST_WAIT_SECONDS)


def test_a_request_is_sent_only_under_a_lease_that_outlives_it():
    assert may_send(after(120), NOW)
    assert not may_send(after(79), NOW)


@pytest.mark.parametrize(
    ("kind", "code", "ends"),
    [
        (RefusalKind.DEAD, "invalid_grant", True),
        (RefusalKind.CLIENT_CONFIG, "invalid_client", True),
        (RefusalKind.TRANSIENT, "invalid_scope", True),
        (RefusalKind.TRANSIENT, "http_503", False),
        (RefusalKind.AMBIGUOUS, "no_answer", False),
        (RefusalKind.RATE_LIMITED, "http_429", False),
    ],
)
def test_an_owner_is_told_what_no_repetition_mends(kind: RefusalKind, code: str, ends: bool):
    assert ends_enrolment(Refused(kind=kind, code=code)) is ends
