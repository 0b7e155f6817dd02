"""A vault token issued no later than one of its subjects was revoked is void."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from builders import NOW, an_identity
from hypothesis import given
from hypothesis import strategies as st

from dispenser.narrowing import Narrowing
from dispenser.revocation import cache_keys, revoked, subjects
from dispenser.revocation_view import HORIZON, OVERLAP, RevocationView
from shared.cache_keys import epoch_value
from shared.model import Owner, Revocation, RevocationKind

SUBJECTS = subjects(an_identity())
OTHERS = subjects(an_identity(agent="intern", session="session-2", owner="grace", token_id="token-2"))[1:]
MICROSECOND = timedelta(microseconds=1)
MOMENTS = st.sampled_from([NOW - timedelta(1), NOW - MICROSECOND, NOW, NOW + MICROSECOND, NOW + timedelta(1)])


def cached(subject: int, moment: datetime) -> list[bytes | None]:
    """The cache's values at an identity's keys, of which one is there."""
    return [epoch_value(moment) if place == subject else None for place in range(len(SUBJECTS))]


def test_a_token_has_five_subjects() -> None:
    assert SUBJECTS == (
        (RevocationKind.ALL, ""),
        (RevocationKind.AGENT, "tracker"),
        (RevocationKind.SESSION, "session-1"),
        (RevocationKind.TOKEN, "token-1"),
        (RevocationKind.OWNER, "ada"),
    )
    assert cache_keys(an_identity()) == [
        *(
            "epoch:all:",
            "epoch:agent:tracker",
            "epoch:session:session-1",
            "epoch:token:token-1",
            "epoch:owner:ada",
        )
    ]


def test_a_delegated_one_is_void_with_whoever_acts_with_it_and_whom_it_is_for() -> None:
    child = an_identity(actors=("intern", "tracker"), narrowing=Narrowing(owner=Owner("grace")))
    assert set(subjects(child)) == {
        *SUBJECTS,
        (RevocationKind.AGENT, "intern"),
        (RevocationKind.OWNER, "grace"),
    }
    assert len(subjects(child)) == 7


@pytest.mark.parametrize(
    ("moment", "void"), [(NOW - MICROSECOND, False), (NOW, True), (NOW + MICROSECOND, True)]
)
@pytest.mark.parametrize("subject", range(len(SUBJECTS)), ids=[kind.value for kind, _ in SUBJECTS])
def test_it_is_void_from_the_revocations_moment_backwards_wherever_that_is_known(
    subject: int, moment: datetime, void: bool
) -> None:
    assert revoked(an_identity(), cached(subject, moment), {}) is void
    assert revoked(an_identity(), (), {SUBJECTS[subject]: moment}) is void


@pytest.mark.parametrize("subject", OTHERS, ids=[kind.value for kind, _ in OTHERS])
def test_anothers_revocation_voids_nothing(subject: tuple[RevocationKind, str]) -> None:
    assert not revoked(an_identity(), (), {subject: NOW + timedelta(1)})


@pytest.mark.parametrize("values", [(), (None,) * 4, (b"",) * 4])
def test_without_any_revocation_it_holds(values: Sequence[bytes | None]) -> None:
    assert not revoked(an_identity(), values, {})


@given(
    st.lists(st.none() | MOMENTS, min_size=4, max_size=4),
    st.dictionaries(st.sampled_from(SUBJECTS + OTHERS), MOMENTS),
)
def test_one_revocation_is_enough_and_losing_the_cache_revives_nobody_who_is_known(
    moments: list[datetime | None], known: dict[tuple[RevocationKind, str], datetime]
) -> None:
    values = [None if moment is None else epoch_value(moment) for moment in moments]
    told = [*(m for m in moments if m), *(m for subject, m in known.items() if subject in SUBJECTS)]
    assert revoked(an_identity(), values, known) == any(moment >= NOW for moment in told)
    if revoked(an_identity(), (), known):
        assert revoked(an_identity(), values, known)


class Rows:
    """The revocations in a database, and since when they were asked for."""

    def __init__(self) -> None:
        self.rows: dict[tuple[RevocationKind, str], Revocation] = {}
        self.asked: list[datetime] = []

    async def add(self, revocation: Revocation) -> None:
        self.rows[revocation.kind, revocation.subject] = revocation

    async def since(self, moment: datetime) -> list[Revocation]:
        self.asked.append(moment)
        return [row for row in self.rows.values() if row.revoked_at >= moment]


class Looking:
    """A view of a database, and a clock that moves when told."""

    def __init__(self) -> None:
        self.now = NOW
        self.rows = Rows()
        self.view = RevocationView(self.rows, lambda: self.now)

    async def revoke(self, subject: str, at: datetime) -> None:
        await self.rows.add(Revocation(kind=RevocationKind.AGENT, subject=subject, revoked_at=at))

    async def seen(self) -> dict[str, datetime]:
        await self.view.look()
        return {subject: moment for (_, subject), moment in self.view.moments.items()}


@pytest.fixture
def looking() -> Looking:
    return Looking()


async def test_the_first_look_learns_all_that_can_still_matter(looking: Looking) -> None:
    await looking.revoke("recent", NOW - HORIZON + timedelta(seconds=1))
    await looking.revoke("over", NOW - HORIZON - timedelta(seconds=1))
    assert set(await looking.seen()) == {"recent"}


async def test_later_looks_read_what_is_new_and_a_little_more(looking: Looking) -> None:
    await looking.seen()
    looking.now += timedelta(seconds=10)
    await looking.seen()
    assert looking.rows.asked == [NOW - HORIZON, NOW - OVERLAP]


async def test_a_revocation_that_was_dated_before_the_last_look_and_came_after_it_is_learned(
    looking: Looking,
) -> None:
    await looking.seen()
    await looking.revoke("late", NOW - OVERLAP)
    assert set(await looking.seen()) == {"late"}


async def test_a_later_revocation_of_one_subject_takes_the_place_of_an_earlier(looking: Looking) -> None:
    await looking.revoke("tracker", NOW)
    await looking.seen()
    looking.now += timedelta(hours=1)
    await looking.revoke("tracker", looking.now)
    assert await looking.seen() == {"tracker": NOW + timedelta(hours=1)}


async def test_what_no_vault_token_is_old_enough_for_is_forgotten(looking: Looking) -> None:
    await looking.revoke("tracker", NOW)
    await looking.seen()
    looking.now += HORIZON
    assert await looking.seen() == {}
