"""An issuer's keys are read when they are needed, seldom, and from where it says they are."""

import asyncio
import json
from typing import Any

import pytest

from dispenser import issuer_keys
from dispenser.issuer_keys import BETWEEN_SECONDS, FRESH_SECONDS, STALE_SECONDS, IssuerKeys
from shared.errors import IssuerUnavailable
from shared.model import Issuer, IssuerRule
from shared.ports import HttpRequest, HttpResponse, NoAnswer, NotSent

URL = "https://cluster.example/realm"
METADATA = f"{URL}/.well-known/openid-configuration"
KEYS = "https://keys.example/jwks"
#: Where keys could be read, and must not.
ELSEWHERE = ("http://keys.example/jwks", "https://127.0.0.1/jwks")
RULE = IssuerRule(claims={"sub": "*"}, agent="tracker", owner="shared")


def an_issuer(**changes: Any) -> Issuer:
    return Issuer(**{"name": "cluster", "issuer": URL, "audience": "vault", "rules": (RULE,)} | changes)


class World:
    """Answers for the issuer, counts what it is asked, and has a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.keys = ["one"]
        self.documents: dict[str, Any] = {
            METADATA: {"issuer": URL, "jwks_uri": KEYS},
            **{url: {"keys": [{"kid": "one"}]} for url in ELSEWHERE},
        }
        self.fault: Exception | None = None

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request.url)
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        document = {"keys": [{"kid": name} for name in self.keys]} if request.url == KEYS else None
        document = self.documents.get(request.url, document)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return HttpResponse(status=200 if document is not None else 404, headers={}, body=body)

    async def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(issuer_keys, "_now", lambda: world.now)
    return world


async def names(keys: IssuerKeys, key_id: str | None = "one", issuer: Issuer | None = None) -> list[str]:
    return [key["kid"] for key in await keys.find(issuer or an_issuer(), key_id)]


async def test_they_are_found_by_the_issuers_metadata_and_read_once_for_all_who_ask(world: World) -> None:
    keys = IssuerKeys(world)
    assert await asyncio.gather(*(names(keys) for _ in range(20))) == [["one"]] * 20
    assert world.asked == [METADATA, KEYS]


async def test_the_address_that_was_declared_goes_before_the_metadata(world: World) -> None:
    assert await names(IssuerKeys(world), issuer=an_issuer(jwks_url=KEYS)) == ["one"]
    assert world.asked == [KEYS]


async def test_keys_that_were_declared_need_nobody(world: World) -> None:
    assert await names(IssuerKeys(world), issuer=an_issuer(keys=({"kid": "mine"},))) == ["mine"]
    assert world.asked == []


async def test_an_unknown_key_makes_them_be_read_again_but_not_at_every_call(world: World) -> None:
    keys = IssuerKeys(world)
    await names(keys)
    world.keys = ["one", "two"]
    for _ in range(100):
        assert await names(keys, "two") == ["one"]
    world.now += BETWEEN_SECONDS
    assert await names(keys, "two") == ["one", "two"]
    for _ in range(100):
        await names(keys, "made up")
    assert world.asked.count(KEYS) == 2


async def test_a_key_that_was_withdrawn_is_forgotten_in_time(world: World) -> None:
    keys = IssuerKeys(world)
    await names(keys)
    world.keys = ["two"]
    world.now += FRESH_SECONDS - 1
    assert await names(keys) == ["one"]
    world.now += 1
    assert await names(keys) == ["two"]


@pytest.mark.parametrize("fault", [NotSent("down"), NoAnswer("hangs")])
async def test_an_issuer_that_is_down_costs_nothing_for_a_while(world: World, fault: Exception) -> None:
    keys = IssuerKeys(world)
    await names(keys)
    world.fault = fault
    world.now += STALE_SECONDS - 1
    assert await names(keys) == ["one"]
    world.now += 1
    with pytest.raises(IssuerUnavailable):
        await names(keys)
    world.fault = None
    world.now += BETWEEN_SECONDS
    assert await names(keys) == ["one"]


async def test_an_issuer_that_never_answered_keeps_nobody_in_a_line(world: World) -> None:
    keys = IssuerKeys(world)
    world.fault = NoAnswer("hangs")
    told = await asyncio.gather(*(names(keys) for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in told} == {IssuerUnavailable}
    assert world.asked == [METADATA]


async def test_an_issuer_that_is_declared_anew_is_asked_anew(world: World) -> None:
    keys = IssuerKeys(world)
    await names(keys)
    await names(keys, issuer=an_issuer(jwks_url=KEYS))
    assert world.asked == [METADATA, KEYS, KEYS]


@pytest.mark.parametrize(
    "documents",
    [
        {METADATA: None},
        {METADATA: {"issuer": "https://another.example", "jwks_uri": KEYS}},
        {METADATA: {"issuer": URL}},
        {METADATA: {"issuer": URL, "jwks_uri": ELSEWHERE[0]}},
        {METADATA: {"issuer": URL, "jwks_uri": ELSEWHERE[1]}},
        {METADATA: [1]},
        {METADATA: b"<html>"},
        {KEYS: {"keys": "none"}},
        {KEYS: {"keys": ["a"]}},
        {KEYS: []},
    ],
    ids=str,
)
async def test_what_is_no_key_set_of_the_issuers_is_not_believed(
    world: World, documents: dict[str, Any]
) -> None:
    world.documents |= documents
    with pytest.raises(IssuerUnavailable):
        await names(IssuerKeys(world))
