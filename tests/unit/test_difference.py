"""A difference names what applying would change, field by field, and no value."""

from dataclasses import replace
from datetime import UTC, datetime

from dispenser.declared import Declarations, SecretReferences
from dispenser.difference import Action, Change, Kind, difference
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
