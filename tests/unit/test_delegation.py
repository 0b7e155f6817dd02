"""A child's vault token can never do what its parent's cannot, however it is asked for."""

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, a_policy, a_service, an_identity
from hypothesis import given
from hypothesis import strategies as st
from unit.test_policy import CONCRETE, POLICIES, QUERIES, SCOPES

from dispenser.delegation import DEEPEST, Refused, child, verdict
from dispenser.narrowing import UNLIMITED, Narrowing, from_claim
from dispenser.policy import Allowed, Denied, Query
from dispenser.policy_index import PolicyIndex
from dispenser.protocol import ChildCall, TokenCall
from dispenser.question import verdict_on
from dispenser.vault_token import REVOCATION_SEEN_SECONDS, Identity, renewed
from shared.model import Catalogue, Effect, Policy

QUERY = Query(
    agent="tracker",
    session_owner="ada",
    service="time-tracker",
    owner="ada",
    scopes=frozenset({"tasks:write"}),
    min_ttl_seconds=0.0,
)


def made(parent: Identity | None = None, **call: Any) -> Identity:
    found = child(parent or an_identity(), ChildCall(**call), token_id="child", now=NOW)
    assert isinstance(found, Identity), found
    return found


def test_a_child_is_its_parents_agent_session_and_owner_and_says_who_acts() -> None:
    parent = an_identity(key="k" * 43)
    found = made(parent, actor="intern")
    assert (found.agent, found.session, found.owner) == (parent.agent, parent.session, parent.owner)
    assert (found.actors, found.token_id, found.key) == (("intern",), "child", parent.key)
    assert made(found, actor="helper").actors == ("helper", "intern")
    assert made(found).actors == ("intern", "intern")
    assert made().actors == ("tracker",)


def test_it_ends_with_its_parent_at_the_latest_and_is_not_renewed_beyond() -> None:
    parent = an_identity()
    for ttl, end in ((None, parent.expires_at), (1e6, parent.expires_at), (60, NOW + timedelta(seconds=60))):
        found = made(ttl=ttl)
        assert found.expires_at == end
        again = renewed(found, "again", NOW, timedelta(hours=24))
        assert again.expires_at == parent.expires_at
        assert made(again, ttl=1e6).until == parent.expires_at


def test_a_revocation_that_is_not_seen_yet_voids_it_too() -> None:
    old = an_identity(issued_at=NOW - timedelta(minutes=5))
    assert made(old).issued_at == NOW - timedelta(seconds=REVOCATION_SEEN_SECONDS)
    assert made().issued_at == NOW


def test_it_may_be_bound_to_another_key_and_never_to_none() -> None:
    assert made(an_identity(key="k" * 43), key="c" * 43).key == "c" * 43
    assert made(an_identity(key="k" * 43), services=("a",)).key == "k" * 43


HELD = Narrowing(services=frozenset({"a", "b"}), scopes=frozenset({"r", "w"}), owner="ada")


@pytest.mark.parametrize(
    ("held", "call"),
    [
        (HELD, {"services": ("a", "c")}),
        (HELD, {"scopes": ("r", "x")}),
        (HELD, {"owner": "grace"}),
        (UNLIMITED, {"key": "short"}),
        (UNLIMITED, {"key": "ä" * 43}),
    ],
)
def test_what_would_be_wider_or_is_not_understood_is_refused(held: Narrowing, call: dict[str, Any]) -> None:
    parent = an_identity(narrowing=held)
    assert isinstance(child(parent, ChildCall(**call), token_id="child", now=NOW), Refused)


@pytest.mark.parametrize(
    ("narrowing", "says"),
    [
        ({"services": frozenset({"slack-post"})}, "the service"),
        ({"owner": "grace"}, "the owner"),
        ({"scopes": frozenset({"tasks:read"})}, "the scopes tasks:write"),
    ],
)
def test_what_lies_beyond_its_narrowing_is_denied_whatever_the_policies_say(
    narrowing: dict[str, Any], says: str
) -> None:
    everything = a_policy(agents=("*",), owners=("*",))
    found = verdict(PolicyIndex([everything]), an_identity(narrowing=Narrowing(**narrowing)), QUERY, NOW)
    assert isinstance(found, Denied)
    assert says in found.reason
    assert isinstance(verdict(PolicyIndex([everything]), an_identity(), QUERY, NOW), Allowed)


def test_what_is_not_named_stays_as_narrow_as_it_was() -> None:
    parent = an_identity(narrowing=HELD)
    assert made(parent).narrowing == HELD
    assert made(parent, services=("a",)).narrowing == Narrowing(
        services=frozenset({"a"}), scopes=HELD.scopes, owner="ada"
    )


def test_a_circle_of_delegation_comes_to_its_end() -> None:
    found = an_identity()
    for _ in range(DEEPEST):
        found = made(found)
    assert isinstance(child(found, ChildCall(), token_id="child", now=NOW), Refused)


def test_the_actors_policies_count_as_well_and_those_of_every_actor_before() -> None:
    everyone = a_policy(agents=("tracker", "intern"), max_ttl_seconds=60)
    longer = a_policy(name="longer", max_ttl_seconds=600)
    parent = made(actor="intern")
    assert verdict(PolicyIndex([everyone, longer]), parent, QUERY, NOW) == Allowed(
        policy="trackers", max_ttl_seconds=60
    )
    assert isinstance(verdict(PolicyIndex([longer]), parent, QUERY, NOW), Denied)
    assert isinstance(verdict(PolicyIndex([everyone]), made(parent, actor="helper"), QUERY, NOW), Denied)
    helpers = a_policy(name="helpers", agents=("helper", "tracker"))
    assert isinstance(verdict(PolicyIndex([helpers]), made(parent, actor="helper"), QUERY, NOW), Denied)


def test_no_agent_gets_by_delegation_what_its_subject_may_not() -> None:
    interns = a_policy(agents=("intern",))
    assert isinstance(verdict(PolicyIndex([interns]), made(actor="intern"), QUERY, NOW), Denied)


def test_a_narrowed_one_speaks_for_the_owner_it_was_narrowed_to_where_policies_allow_that() -> None:
    service = a_service()
    found = made(owner="grace")
    assert found.acts_for == "grace"
    call = TokenCall(service=service.name)
    for owners, allowed in ((("$session",), False), (("*",), True)):
        index = PolicyIndex([a_policy(owners=owners)])
        catalogue = Catalogue(
            version=1,
            providers={},
            services={service.name: service},
            agents={},
            policies=(),
        )
        assert isinstance(verdict_on(catalogue, index, found, call, NOW), Allowed) is allowed


NARROWINGS = st.builds(
    Narrowing,
    services=st.none() | st.frozensets(CONCRETE),
    scopes=st.none() | st.frozensets(SCOPES),
    owner=st.none() | CONCRETE,
)
CALLS = st.builds(
    ChildCall,
    services=st.none() | st.lists(CONCRETE, min_size=1).map(tuple),
    scopes=st.none() | st.lists(SCOPES, min_size=1).map(tuple),
    owner=st.none() | CONCRETE,
    actor=st.none() | CONCRETE,
    ttl=st.none() | st.floats(1, 10_000),
)


@given(POLICIES, QUERIES, NARROWINGS, st.lists(CALLS, min_size=1, max_size=3))
def test_whatever_a_child_is_allowed_its_parent_is_allowed_for_as_long(
    policies: list[Policy], query: Query, held: Narrowing, calls: list[ChildCall]
) -> None:
    parent = an_identity(agent=query.agent, owner=query.session_owner, narrowing=held)
    for call in calls:
        found = child(parent, call, token_id="child", now=NOW)
        if isinstance(found, Refused):
            return
        ours, theirs = (verdict(PolicyIndex(policies), one, query, NOW) for one in (parent, found))
        if isinstance(theirs, Allowed):
            assert isinstance(ours, Allowed)
            assert (theirs.max_ttl_seconds or 1e9) <= (ours.max_ttl_seconds or 1e9)
        assert found.expires_at <= parent.expires_at
        parent = found


@given(NARROWINGS)
def test_a_narrowing_is_read_from_a_vault_token_as_it_was_written(narrowing: Narrowing) -> None:
    assert from_claim(narrowing.claim()) == narrowing


@given(POLICIES, QUERIES)
def test_a_denial_for_the_actor_denies(policies: list[Policy], query: Query) -> None:
    parent = an_identity(agent=query.agent, owner=query.session_owner)
    barred = Policy(name="barred", effect=Effect.DENY, agents=("barred",), services=("*",), owners=("*",))
    assert isinstance(
        verdict(PolicyIndex([*policies, barred]), made(parent, actor="barred"), query, NOW), Denied
    )
