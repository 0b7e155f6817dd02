"""A difference names what applying would change, field by field, and no value."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dispenser.declared import Declarations, SecretReferences
from dispenser.difference import Action, Change, Kind, Move, difference, moves
from shared.model import Agent, Catalogue, Effect, Issuer, Policy, Provider, Rotation, Service

PROVIDER = Provider(name="p", token_url="https://p.example/token", client_id="c")
SERVICE = Service(name="s", provider="p", scopes=("read",))
AGENT = Agent(name="a")
ISSUER = Issuer(name="i", issuer="https://i.example", audience="vault", rules=())
POLICY = Policy(name="n", effect=Effect.ALLOW)
DECLARED = Declarations(
    providers=(PROVIDER,), services=(SERVICE,), agents=(AGENT,), policies=(POLICY,), issuers=(ISSUER,)
)
EMPTY = Catalogue(version=0, providers={}, services={}, agents={}, policies=())
FULL = Catalogue(
    version=1,
    providers={"p": PROVIDER},
    services={"s": SERVICE},
    agents={"a": AGENT},
    policies=(POLICY,),
    issuers={"i": ISSUER},
)
NAMES = [(Kind.PROVIDER, "p"), (Kind.SERVICE, "s"), (Kind.AGENT, "a"), (Kind.POLICY, "n"), (Kind.ISSUER, "i")]


def test_what_the_catalogue_lacks_is_added() -> None:
    expected = tuple(Change(kind=kind, name=name, action=Action.ADDED) for kind, name in NAMES)
    assert difference(EMPTY, DECLARED) == expected


def test_what_is_the_same_is_unchanged() -> None:
    expected = tuple(Change(kind=kind, name=name, action=Action.UNCHANGED) for kind, name in NAMES)
    assert difference(FULL, DECLARED) == expected


def test_what_differs_is_named_by_its_fields() -> None:
    declared = Declarations(
        providers=(replace(PROVIDER, client_id="d", rotation=Rotation(rotates=False)),),
        policies=(replace(POLICY, effect=Effect.DENY),),
        issuers=(replace(ISSUER, audience="other"),),
    )
    assert difference(FULL, declared) == (
        Change(kind=Kind.PROVIDER, name="p", action=Action.CHANGED, fields=("client_id", "rotation")),
        Change(kind=Kind.POLICY, name="n", action=Action.CHANGED, fields=("effect",)),
        Change(kind=Kind.ISSUER, name="i", action=Action.CHANGED, fields=("audience",)),
    )


def test_what_the_files_do_not_mention_stays_and_is_not_listed() -> None:
    assert difference(FULL, Declarations()) == ()


def test_a_revoked_agent_is_unchanged() -> None:
    revoked = replace(AGENT, revoked_at=datetime(2030, 1, 1, tzinfo=UTC))
    (change,) = difference(replace(FULL, agents={"a": revoked}), Declarations(agents=(AGENT,)))
    assert change.action == Action.UNCHANGED


def test_a_secret_is_a_word_and_no_change() -> None:
    declared = Declarations(providers=(PROVIDER,), secrets={"p": SecretReferences()})
    (change,) = difference(FULL, declared)
    assert change.action == Action.UNCHANGED
    assert str(change) == "provider p: unchanged, secret sealed anew"


def test_a_change_reads_as_a_line() -> None:
    change = Change(kind=Kind.SERVICE, name="s", action=Action.CHANGED, fields=("scopes", "audience"))
    assert str(change) == "service s: changed (scopes, audience)"


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({"token_url": "https://new.example/token"}, True),
        ({"client_id": "d"}, True),
        ({"revocation_url": "https://p.example/revoke"}, False),
        ({"authorization_url": "https://p.example/authorize", "max_concurrency": 3}, None),
    ],
)
def test_what_makes_another_client_leaves_grants_behind(changes: dict[str, Any], asks: bool | None) -> None:
    declared = Declarations(providers=(replace(PROVIDER, **changes),))
    expected = () if asks is None else (Move(service="s", provider="p", asks=asks),)
    assert moves(FULL, declared) == expected


def test_a_service_that_gets_another_provider_leaves_its_grants_behind() -> None:
    other = replace(PROVIDER, name="q", client_id="d")
    declared = Declarations(providers=(other,), services=(replace(SERVICE, provider="q"),))
    assert moves(FULL, declared) == (Move(service="s", provider="q", asks=True),)
    same = Declarations(providers=(replace(other, client_id="c"),), services=declared.services)
    assert moves(FULL, same) == ()
    assert moves(EMPTY, declared) == ()
