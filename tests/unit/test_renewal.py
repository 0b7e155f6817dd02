"""When a grant is refreshed next, and when its owner is warned."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared import keyring
from shared.model import (
    AccessToken,
    Credential,
    Grant,
    GrantId,
    GrantState,
    Owner,
    Provider,
    ProviderName,
    RefreshToken,
    ServiceName,
    StaticToken,
)
from shared.secret import Secret
from workers.outcome import Issued
from workers.renewal import NEVER, Ends, access_token, ends, renewal

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = 86_400
KEYS = keyring.parse(json.dumps(keyring.generate()))
PROVIDER = Provider(name=ProviderName("p"))
REFRESH, STATIC = RefreshToken(value=Secret("rt")), StaticToken(value=Secret("st"))
ISSUED = Issued(
    access_token=Secret("at"),
    token_type="Bearer",
    expires_in_seconds=3600,
    scopes=None,
    refresh_token=Secret("rt"),
)
GRANT = Grant(
    id=GrantId("g"), service=ServiceName("s"), owner=Owner("o"), state=GrantState.ACTIVE, generation=1,
    scopes=(), sealed_credential=b"x", credential_fingerprint=b"f", sealed_token=b"t", token_expires_at=NOW,
    refresh_at=NOW, failures=0, last_error=None, created_at=NOW, updated_at=NOW,
)  # fmt: skip


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def token(provider: Provider = PROVIDER, **changes: float | None) -> AccessToken:
    return access_token(
        replace(ISSUED, **changes), provider, REFRESH, grant_id=GRANT.id, generation=2, sent_at=NOW, scopes=()
    )


def refreshed_after(
    provider: Provider, *, life: float = 3600, credential: Credential = REFRESH, ending: Ends = NEVER
) -> float:
    """Seconds until the next refresh, in the middle of its jitter."""
    columns = renewal(
        KEYS, service=GRANT.service, owner=GRANT.owner, provider=provider, credential=credential,
        token=token(expires_in_seconds=life), ending=ending, entropy=0.5,
    )  # fmt: skip
    assert columns.refresh_at is not None
    return (columns.refresh_at - NOW).total_seconds()


@pytest.mark.parametrize(
    ("said", "default", "most", "lives"),
    [
        (3600, 60, None, 3600),
        (None, 60, None, 60),
        (3600, 60, 600, 600),
        (300, 60, 600, 300),
        (None, 7200, 600, 600),
    ],
)
def test_a_token_lives_as_said_or_as_declared_and_never_longer_than_believed(
    said: float | None, default: int, most: int | None, lives: float
):
    provider = replace(PROVIDER, default_expires_in_seconds=default, max_expires_in_seconds=most)
    assert token(provider, expires_in_seconds=said).expires_at == later(lives)


@pytest.mark.parametrize(
    ("life", "idle", "after"),
    [
        (3600, None, 0.7 * 3600),
        (3600, 60 * DAY, 0.7 * 3600),  # its use keeps it alive anyway
        (90 * DAY, 60 * DAY, 0.6 * 60 * DAY),
    ],
)
def test_a_refresh_token_is_used_before_it_idles_out(life: float, idle: int | None, after: float):
    provider = replace(PROVIDER, refresh_token_idle_seconds=idle)
    assert refreshed_after(provider, life=life) == pytest.approx(after)


def test_a_static_token_is_kept_as_it_is():
    provider = replace(PROVIDER, refresh_token_idle_seconds=60)
    assert refreshed_after(provider, credential=STATIC) == 3600


def test_a_refresh_comes_when_its_owner_is_to_be_warned():
    ending = Ends(at=later(2000), warn_at=later(1600))
    assert refreshed_after(PROVIDER, ending=ending) == 1600


LIFE = replace(PROVIDER, refresh_token_life_seconds=365 * DAY)
KNOWN = replace(GRANT, credential_expires_at=later(100 * DAY), warn_at=later(93 * DAY))


def test_a_life_begins_with_a_consent():
    assert ends(ISSUED, LIFE, REFRESH, None, NOW) == Ends(at=later(365 * DAY), warn_at=later(358 * DAY))


def test_a_short_life_is_warned_of_in_its_last_fifth():
    week = replace(PROVIDER, refresh_token_life_seconds=7 * DAY)
    assert ends(ISSUED, week, REFRESH, None, NOW).warn_at == later(0.8 * 7 * DAY)


def test_a_rotation_does_not_make_a_life_longer():
    assert ends(ISSUED, LIFE, REFRESH, KNOWN, NOW) == Ends(at=later(100 * DAY), warn_at=later(93 * DAY))


def test_a_warning_is_given_once():
    told = replace(KNOWN, warn_at=None)
    assert ends(ISSUED, LIFE, REFRESH, told, NOW).warn_at is None
    # The provider counts down from answer to answer, and means the same end.
    counting = replace(ISSUED, refresh_token_expires_in_seconds=100 * DAY + 30)
    assert ends(counting, LIFE, REFRESH, told, NOW).warn_at is None


def test_the_providers_word_goes_before_what_is_declared():
    word = replace(ISSUED, refresh_token_expires_in_seconds=180 * DAY)
    moved = Ends(at=later(180 * DAY), warn_at=later(173 * DAY))
    assert ends(word, LIFE, REFRESH, None, NOW) == moved
    assert ends(word, LIFE, REFRESH, KNOWN, NOW) == moved


def test_what_is_no_refresh_token_has_no_end_of_this_kind():
    assert ends(ISSUED, LIFE, STATIC, None, NOW) == NEVER
