"""The keyring's document tells each key's state, and never leaves a use without a current key."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import key_record, keyring
from shared.key_record import KeyState

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def document(*ages_hours: float) -> dict:
    """Cache keys that became current so long ago, or will when it is negative."""
    moments = [NOW - timedelta(hours=age) for age in ages_hours]
    keys = [keyring.new_key("cache", made=moment, current_from=moment) for moment in moments]
    return {"version": 1, "keys": keys}


def states(of: dict) -> list[KeyState]:
    return [record.state for record in key_record.records(of, NOW)]


def test_the_newest_that_has_come_is_current_and_those_before_it_open_only():
    assert states(document(48, 24, -1)) == [
        KeyState.DECRYPT_ONLY,
        KeyState.CURRENT,
        KeyState.PUBLISHED,
    ]


def test_the_order_of_the_document_does_not_matter():
    assert states(document(-1, 24, 48)) == states(document(48, 24, -1))


def test_a_key_becomes_current_at_its_very_moment():
    assert states(document(1, 0)) == [KeyState.DECRYPT_ONLY, KeyState.CURRENT]


def test_a_key_made_by_a_clock_that_is_ahead_is_current_where_it_is_the_only_one():
    assert states(document(-1)) == [KeyState.CURRENT]


def test_a_key_is_superseded_when_the_next_becomes_current():
    old, new = key_record.records(document(48, 24), NOW)
    assert old.superseded_at == new.current_from
    assert new.superseded_at is None


def test_of_a_retired_key_its_story_alone_is_left():
    held = document(48, 24)
    secret, key_id = held["keys"][0]["secret"], held["keys"][0]["id"]
    left = key_record.retired(held, key_id, NOW)
    assert secret not in json.dumps(left)
    assert states(left) == [KeyState.RETIRED, KeyState.CURRENT]
    assert key_record.records(left, NOW)[0].retired_at == NOW
    assert key_id not in keyring.parse(json.dumps(left), NOW).cache


def test_a_role_is_given_no_retired_key():
    held = document(48, 24)
    left = key_record.retired(held, held["keys"][0]["id"], NOW)
    assert len(keyring.for_role(left, "serve")["keys"]) == 1


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_what_makes_new_values_is_the_one_current_key_of_its_use(ages):
    held = document(*ages)
    current = [r.id for r in key_record.records(held, NOW) if r.state is KeyState.CURRENT]
    assert current == [keyring.parse(json.dumps(held), NOW).primary_id("cache")]


@pytest.mark.parametrize("use", keyring.USES)
def test_a_published_key_is_held_and_makes_nothing_yet(use):
    held = keyring.generate(NOW)
    held["keys"].append(keyring.new_key(use, made=NOW, current_from=NOW + timedelta(minutes=1)))
    before = keyring.parse(json.dumps(held), NOW)
    after = keyring.parse(json.dumps(held), NOW + timedelta(minutes=1))
    assert before.primary_id(use) != after.primary_id(use) == keyring.parse(json.dumps(held)).primary_id(use)
    assert all(
        after.primary_id(use) in part
        for part in (getattr(before, name) for name in ("cache", "audit", "grant_public", "signing_public"))
        if before.primary_id(use) in part
    )


def test_whoever_holds_a_keyring_follows_it_when_it_becomes_a_newer_one():
    process, newer = (keyring.parse(json.dumps(keyring.generate())) for _ in range(2))
    process.become(newer)
    assert process == newer
