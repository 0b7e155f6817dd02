"""The cache's keys keep subjects apart, and its epochs tell moments to the microsecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispenser.vault_token import LONGEST_TTL_SECONDS
from shared.cache_keys import REVOKED_SECONDS, epoch_key, epoch_moment, epoch_value, epoch_version, token_key
from shared.model import Owner, RevocationKind, ServiceName

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
#: As a declared file has them: owners alone are free text.
SERVICES = st.from_regex(r"[ab._-]{1,3}", fullmatch=True)
OWNERS = st.text("ab._-:", max_size=3)


@given(MOMENTS)
def test_a_moment_comes_back_to_the_microsecond(moment: datetime) -> None:
    assert epoch_moment(epoch_value(moment)) == moment


@given(MOMENTS, MOMENTS)
def test_a_later_moment_has_a_higher_version_and_value(one: datetime, other: datetime) -> None:
    assert (
        (one < other)
        == (epoch_version(one) < epoch_version(other))
        == (epoch_value(one) < epoch_value(other))
    )


@given(MOMENTS, st.integers(-14, 14))
def test_a_moment_is_the_same_in_any_time_zone(moment: datetime, hours: int) -> None:
    try:
        elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    except OverflowError:  # there was no such year there
        return
    assert epoch_value(elsewhere) == epoch_value(moment)


@given(st.tuples(SERVICES, OWNERS), st.tuples(SERVICES, OWNERS))
@example(("a", "b:"), ("ab", ":"))
@example(("a", "bb"), ("ab", "b"))
def test_two_places_share_no_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = {token_key(ServiceName(service), Owner(owner)) for service, owner in (one, other)}
    assert len(keys) == len({one, other})


@given(st.sampled_from(RevocationKind), st.text(), st.sampled_from(RevocationKind), st.text())
def test_two_subjects_share_no_key_nor_a_subject_and_a_place(
    kind: RevocationKind, subject: str, other_kind: RevocationKind, other_subject: str
) -> None:
    one, other = epoch_key(kind, subject), epoch_key(other_kind, other_subject)
    assert (one == other) == ((kind, subject) == (other_kind, other_subject))
    assert one != token_key(ServiceName(kind.value), Owner(subject))


def test_an_epoch_outlasts_every_vault_token_it_voids() -> None:
    assert timedelta(seconds=REVOKED_SECONDS) >= timedelta(seconds=LONGEST_TTL_SECONDS)


@pytest.mark.parametrize("kind", RevocationKind)
def test_an_epochs_key_says_what_it_is_about(kind: RevocationKind) -> None:
    assert epoch_key(kind, "x") == f"epoch:{kind.value}:x"
