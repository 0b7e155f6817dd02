"""A call is put in the catalogue's terms, and no policy is got around by how it is worded."""

from datetime import timedelta

import pytest
from builders import NOW, a_policy, a_service, an_agent, an_identity
from hypothesis import given
from hypothesis import strategies as st

from dispenser import question
from dispenser.decision import Want
from dispenser.policy import Allowed, Denied
from dispenser.policy_index import PolicyIndex
from dispenser.protocol import RejectedCall, TokenCall
from dispenser.question import Asking, Question
from shared.model import Catalogue, Effect, Policy, Service

READ, WRITE = "tasks:read", "tasks:write"
CALL = TokenCall(service="time-tracker")
REPORT = RejectedCall(service="time-tracker", generation=3)
ASKING = Asking(identity=an_identity(), request_id="r1", door="amqp", deadline=NOW + timedelta(seconds=10))


def a_catalogue(*policies: Policy, service: Service | None = None) -> Catalogue:
    declared = service or a_service(scopes=(READ, WRITE))
    agent = an_agent()
    return Catalogue(
        version=7,
        providers={},
        services={declared.name: declared},
        agents={agent.name: agent},
        policies=policies,
    )


def put(call: TokenCall | RejectedCall, *policies: Policy) -> Question:
    return question.put(a_catalogue(*policies), PolicyIndex(policies), ASKING, call, NOW)


def test_a_question_knows_who_asks_for_what_and_until_when() -> None:
    asked = put(CALL, a_policy(max_ttl_seconds=60))
    assert asked.place == ("time-tracker", "ada")
    assert asked.verdict == Allowed(policy="trackers", max_ttl_seconds=60)
    assert asked.max_ttl_seconds == 60
    assert (asked.asking, asked.catalogue_version, asked.known) == (ASKING, 7, True)


@pytest.mark.parametrize("owner", [None, ""])
def test_the_owner_is_the_sessions_where_none_is_named(owner: str | None) -> None:
    assert put(TokenCall(service="time-tracker", owner=owner)).place[1] == "ada"


def test_another_owner_is_asked_for_by_name_and_needs_a_policy_of_its_own() -> None:
    call = TokenCall(service="time-tracker", owner="grace")
    assert isinstance(put(call, a_policy()).verdict, Denied)
    assert put(call, a_policy(owners=("grace",))).place[1] == "grace"
    assert isinstance(put(call, a_policy(owners=("grace",))).verdict, Allowed)


def test_a_service_that_nobody_declared_is_not_known() -> None:
    assert not put(TokenCall(service="slack-post"), a_policy()).known


@pytest.mark.parametrize("scopes", [None, (READ,), (WRITE,), (READ, WRITE)])
@pytest.mark.parametrize(
    "policies",
    [
        (a_policy(scopes=(READ,)),),
        (a_policy(), a_policy(name="no-write", effect=Effect.DENY, scopes=(WRITE,))),
    ],
)
def test_naming_fewer_scopes_does_not_get_around_a_policy_about_the_others(
    policies: tuple[Policy, ...], scopes: tuple[str, ...] | None
) -> None:
    """The token carries all that its service has, whatever an agent says it needs."""
    assert isinstance(put(TokenCall(service="time-tracker", scopes=scopes), *policies).verdict, Denied)


def test_naming_more_scopes_than_the_service_has_needs_a_policy_for_them() -> None:
    call = TokenCall(service="time-tracker", scopes=("admin",))
    assert isinstance(put(call, a_policy(scopes=(READ, WRITE))).verdict, Denied)
    assert isinstance(put(call, a_policy(scopes=(READ, WRITE, "admin"))).verdict, Allowed)


SCOPES = st.lists(st.sampled_from([READ, WRITE, "admin"]), min_size=1, max_size=3).map(tuple)


@given(SCOPES, SCOPES, st.sampled_from(Effect))
def test_naming_scopes_never_allows_what_not_naming_them_does_not(
    named: tuple[str, ...], bounds: tuple[str, ...], effect: Effect
) -> None:
    policies = (a_policy(name="bounds", scopes=bounds, effect=effect), a_policy(name="all", scopes=None))
    policies = policies if effect is Effect.DENY else policies[:1]
    if isinstance(put(TokenCall(service="time-tracker", scopes=named), *policies).verdict, Allowed):
        assert isinstance(put(CALL, *policies).verdict, Allowed)


def test_more_life_than_a_policy_allows_is_denied() -> None:
    policy = a_policy(max_ttl_seconds=60)
    assert isinstance(put(TokenCall(service="time-tracker", min_ttl=60), policy).verdict, Allowed)
    assert isinstance(put(TokenCall(service="time-tracker", min_ttl=61), policy).verdict, Denied)


def test_what_is_wanted_of_the_token_is_what_the_call_says() -> None:
    call = TokenCall(service="time-tracker", min_ttl=9, scopes=(READ,))
    assert put(call).want == Want(min_ttl_seconds=9, scopes=frozenset({READ}))
    assert put(CALL).want == Want()


def test_a_report_wants_nothing_and_needs_the_same_rights() -> None:
    assert put(REPORT, a_policy()).want == Want()
    assert isinstance(put(REPORT).verdict, Denied)
    assert put(REPORT).max_ttl_seconds is None
