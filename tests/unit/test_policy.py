"""Denied unless a policy allows it; a deny wins, and the order of policies says nothing."""

import gc
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import permutations

import policy_reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispenser.policy import Allowed, Denied, Query, evaluate, is_about_agent, judged
from dispenser.policy_index import PolicyIndex
from shared.model import AgentName, Effect, Owner, Policy, ServiceName

NOW = datetime(2026, 11, 24, tzinfo=UTC)
QUERY = Query(
    agent=AgentName("tracker"),
    session_owner=Owner("ada"),
    service=ServiceName("slack-post"),
    owner=Owner("ada"),
    scopes=frozenset({"chat:write"}),
    min_ttl_seconds=60.0,
)


def policy(effect: Effect = Effect.ALLOW, **changes: object) -> Policy:
    values = {"name": "p", "agents": ("tracker",), "services": ("slack-post",), "owners": ("$session",)}
    return Policy(effect=effect, **values | changes)  # type: ignore[arg-type]


def test_without_a_policy_everything_is_denied() -> None:
    assert evaluate([], QUERY, NOW) == Denied(reason="No policy allows it.")


def test_a_policy_that_matches_allows() -> None:
    assert evaluate([policy()], QUERY, NOW) == Allowed(policy="p", max_ttl_seconds=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"agents": ("summarizer",)},
        {"services": ("time-*",)},
        {"owners": ("grace",)},
        {"scopes": ("chat:read",)},
        {"max_ttl_seconds": 59},
        {"not_before": NOW + timedelta(seconds=1)},
        {"expires_at": NOW},
    ],
)
def test_a_policy_about_something_else_allows_nothing(changes: dict[str, object]) -> None:
    assert isinstance(evaluate([policy(**changes)], QUERY, NOW), Denied)


@pytest.mark.parametrize(
    "changes",
    [
        {"agents": ("track*",)},
        {"services": ("*",)},
        {"owners": ("ada",)},
        {"scopes": ("chat:write", "chat:read")},
        {"max_ttl_seconds": 60},
        {"not_before": NOW},
        {"expires_at": NOW + timedelta(seconds=1)},
    ],
)
def test_patterns_and_bounds_include_what_they_say(changes: dict[str, object]) -> None:
    assert isinstance(evaluate([policy(**changes)], QUERY, NOW), Allowed)


def test_the_sessions_owner_is_not_anybody_else() -> None:
    assert isinstance(evaluate([policy()], replace(QUERY, owner=Owner("grace")), NOW), Denied)


def test_a_denial_names_its_policy() -> None:
    denied = evaluate([policy(), policy(Effect.DENY, name="no")], QUERY, NOW)
    assert denied == Denied(reason="Policy no denies it.", policy="no")


def test_a_denial_of_scopes_is_about_these_alone() -> None:
    no_reading = policy(Effect.DENY, scopes=("chat:read",))
    assert isinstance(evaluate([policy(), no_reading], QUERY, NOW), Allowed)
    both = replace(QUERY, scopes=frozenset({"chat:write", "chat:read"}))
    assert isinstance(evaluate([policy(), no_reading], both, NOW), Denied)


def test_a_shortfall_is_told() -> None:
    denied = evaluate([policy(scopes=())], QUERY, NOW)
    assert denied == Denied(reason="Policy p does not allow the scopes chat:write.", policy="p")


def test_the_longest_of_several_limits_counts() -> None:
    policies = [policy(name="short", max_ttl_seconds=60), policy(name="long", max_ttl_seconds=600)]
    assert evaluate(policies, QUERY, NOW) == Allowed(policy="long", max_ttl_seconds=600)


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("changes", [{}, {"scopes": ()}])
def test_of_several_that_say_the_same_the_first_by_name_is_named(
    effect: Effect, changes: dict[str, object]
) -> None:
    policies = [policy(effect, name=name, **changes) for name in ("b", "a", "c")]
    policies += [policy(name="z", scopes=())]
    verdicts = [evaluate(list(order), QUERY, NOW) for order in permutations(policies)]
    assert {verdict.policy for verdict in verdicts} == {"z" if changes and effect is Effect.DENY else "a"}


def test_no_time_at_all_is_not_taken_for_all_the_time() -> None:
    policies = [policy(name="none", max_ttl_seconds=0), policy(name="some", max_ttl_seconds=60)]
    brief = replace(QUERY, min_ttl_seconds=0.0)
    assert evaluate(policies, brief, NOW) == Allowed(policy="some", max_ttl_seconds=60)


NAMES = st.sampled_from(["a", "ab", "b", "a*", "*", "[ab]", "[!a]", "?", "?b", "*b*", ""])
CONCRETE = st.sampled_from(["a", "ab", "b"])
MOMENTS = st.none() | st.sampled_from([NOW - timedelta(1), NOW, NOW + timedelta(1)])
TIMES = st.sampled_from([NOW - timedelta(2), NOW - timedelta(1), NOW, NOW + timedelta(1), NOW + timedelta(2)])
SCOPES = st.sampled_from(["r", "w", "x"])
POLICIES = st.lists(
    st.builds(
        Policy,
        name=st.sampled_from(["p1", "p2", "p3", "p4", "p5"]),
        effect=st.sampled_from(Effect),
        agents=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
        services=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
        owners=st.lists(NAMES | st.just("$session"), min_size=1, max_size=2).map(tuple),
        scopes=st.none() | st.lists(SCOPES, max_size=3).map(tuple),
        max_ttl_seconds=st.none() | st.sampled_from([0, 10, 50, 100]),
        not_before=MOMENTS,
        expires_at=MOMENTS,
    ),
    max_size=5,
    unique_by=lambda policy: policy.name,
)
QUERIES = st.builds(
    Query,
    agent=CONCRETE,
    session_owner=CONCRETE,
    service=CONCRETE,
    owner=CONCRETE,
    scopes=st.frozensets(SCOPES),
    min_ttl_seconds=st.sampled_from([0.0, 10.0, 50.0]),
)


@settings(max_examples=500)
@given(POLICIES, QUERIES, TIMES)
def test_it_agrees_with_an_independent_evaluator(policies: list[Policy], query: Query, now: datetime) -> None:
    allowed, longest = policy_reference.verdict(policies, query, now)
    found = evaluate(policies, query, now)
    assert isinstance(found, Allowed) == allowed
    assert getattr(found, "max_ttl_seconds", None) == longest


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_the_independent_evaluator_knows_shell_patterns(pattern: str, name: str) -> None:
    assert policy_reference.fits(pattern, name) == fnmatchcase(name, pattern)


@given(POLICIES, QUERIES, st.randoms(use_true_random=False))
def test_the_order_says_nothing(policies: list[Policy], query: Query, random: object) -> None:
    shuffled = list(policies)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert evaluate(policies, query, NOW) == evaluate(shuffled, query, NOW)


@given(POLICIES, QUERIES, st.integers(0, 4))
def test_removing_a_permission_never_allows_more(policies: list[Policy], query: Query, place: int) -> None:
    fewer = [p for i, p in enumerate(policies) if i != place or p.effect is Effect.DENY]
    if isinstance(evaluate(fewer, query, NOW), Allowed):
        assert isinstance(evaluate(policies, query, NOW), Allowed)


@given(POLICIES, QUERIES, TIMES)
def test_an_index_leaves_out_what_says_nothing_to_an_agent_of_a_service(
    policies: list[Policy], query: Query, now: datetime
) -> None:
    about = PolicyIndex(policies).about(query.agent, query.service)
    assert judged(about, query, now) == evaluate(policies, query, now)
    assert all(is_about_agent(policy, query.agent) for policy in about)
    assert all(any(fnmatchcase(query.service, name) for name in policy.services) for policy in about)


def test_an_index_looks_at_patterns_alone() -> None:
    others = [policy(name=f"{number}", agents=(f"agent-{number}",)) for number in range(3)]
    ours, everyone = policy(name="ours", agents=("tracker", "tracker")), policy(name="all", agents=("*",))
    index = PolicyIndex([*others, everyone, ours])
    assert index.about(AgentName("tracker"), ServiceName("slack-post")) == (everyone, ours)


def test_an_index_that_is_replaced_goes_at_once() -> None:
    """Without waiting for the garbage collector, which seldom looks at what is old: its policies go too."""
    index = PolicyIndex([policy()])
    index.about(QUERY.agent, QUERY.service)
    seen = weakref.ref(index)
    gc.disable()
    try:
        del index
        assert seen() is None
    finally:
        gc.enable()
