"""A key stays as long as anything needs it, and the refusal says what, how much, and what to do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispenser.retirement import FOLLOWED, Reference, hindrances
from dispenser.wiring.key_references import OUTLIVING, outliving
from shared.key_record import KeyRecord, KeyState

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
ROWS = Reference(what="grants.sealed_credential", count=3, remedy="rewrap them.")
FINGERPRINTS = Reference(what="audit records", count=5, remedy="purge them.", given_up=True)


def a_record(**changes: Any) -> KeyRecord:
    values = {
        "id": "0f" * 8,
        "use": "grant",
        "state": KeyState.DECRYPT_ONLY,
        "made": LONG_AGO,
        "current_from": LONG_AGO,
        "superseded_at": NOW - timedelta(days=2),
    }
    return KeyRecord(**values | changes)


@pytest.mark.parametrize("use", ["grant", "cache", "signing", "audit", "transport", "checkpoint"])
def test_an_old_key_that_nothing_needs_may_go(use):
    assert hindrances(a_record(use=use), [], NOW) == []


def test_what_needs_it_is_counted_and_the_way_out_is_said():
    assert hindrances(a_record(), [ROWS], NOW) == ["3 grants.sealed_credential: rewrap them."]


@pytest.mark.parametrize("state", [KeyState.CURRENT, KeyState.PUBLISHED])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_in_use_or_to_come_stays(state, at_once):
    [said] = hindrances(a_record(state=state), [], NOW, at_once=at_once)
    assert "dispenser keys rotate grant" in said


def test_a_retired_key_is_not_retired_again():
    assert hindrances(a_record(state=KeyState.RETIRED), [], NOW) == ["It is retired already."]


@pytest.mark.parametrize("at_once", [True, False])
def test_processes_may_seal_with_it_for_some_seconds_after_its_time(at_once):
    superseded_at = NOW - FOLLOWED + timedelta(seconds=1)
    [said] = hindrances(a_record(superseded_at=superseded_at), [], NOW, at_once=at_once)
    assert (superseded_at + FOLLOWED).isoformat(timespec="seconds") in said
    assert hindrances(a_record(superseded_at=NOW - FOLLOWED), [], NOW) == []


@pytest.mark.parametrize("use", OUTLIVING)
def test_what_nobody_counts_is_waited_for_or_given_up(use):
    what, life = OUTLIVING[use]
    record = a_record(use=use, superseded_at=NOW - life + timedelta(seconds=1))
    [said] = hindrances(record, outliving(record, NOW), NOW)
    assert said.startswith(f"{what}: ")
    assert hindrances(record, outliving(record, NOW), NOW, at_once=True) == []
    assert outliving(record, NOW + timedelta(seconds=1)) == []


def test_rows_are_never_given_up():
    assert hindrances(a_record(), [ROWS, FINGERPRINTS], NOW, at_once=True) == [
        "3 grants.sealed_credential: rewrap them."
    ]
    assert len(hindrances(a_record(), [ROWS, FINGERPRINTS], NOW)) == 2
