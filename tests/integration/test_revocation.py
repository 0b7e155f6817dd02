"""Whatever is revoked is refused from the next request on, after a flush of the cache as well."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from builders import a_policy
from integration.desk import Desk

from dispenser import revoke
from dispenser.protocol import Code, TokenCall
from shared.model import AgentName, Owner, ProviderName, RevocationKind


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    await desk.declare(policies=[a_policy(agents=("*",), owners=("*",))])
    await desk.look()
    await desk.grant()
    yield desk
    await desk.close()


async def token(desk: Desk) -> None:
    await revoke.revoke_subject(desk.store, desk.cache, RevocationKind.TOKEN, "token-1", desk.time)


async def session(desk: Desk) -> None:
    await revoke.revoke_subject(desk.store, desk.cache, RevocationKind.SESSION, "session-1", desk.time)


async def agent(desk: Desk) -> None:
    assert await revoke.revoke_agent(desk.store, desk.cache, AgentName("tracker"), desk.time)


async def owner(desk: Desk) -> None:
    assert len(await revoke.revoke_owner(desk.store, desk.cache, Owner("ada"), desk.time)) == 1


async def grant(desk: Desk) -> None:
    [found] = await desk.store.grants.select()
    assert await revoke.revoke_grant(desk.store, desk.cache, found, desk.time)


async def provider(desk: Desk) -> None:
    assert len(await revoke.revoke_provider(desk.store, desk.cache, ProviderName("strict"), desk.time)) == 1


async def everything(desk: Desk) -> None:
    assert len(await revoke.revoke_everything(desk.store, desk.cache, desk.time)) == 1


VOID, GONE = Code.UNAUTHENTICATED, Code.REAUTH_REQUIRED


@pytest.mark.parametrize("flushed", [False, True], ids=["cached", "flushed"])
@pytest.mark.parametrize(
    ("revoked", "same", "another"),
    [
        # What the session is told, and what another of its agent for another owner that asks for ada's.
        (token, VOID, Code.OK),
        (session, VOID, Code.OK),
        (agent, VOID, VOID),
        (owner, VOID, GONE),
        (grant, GONE, GONE),
        (provider, GONE, GONE),
        (everything, VOID, VOID),
    ],
)
async def test_it_holds_from_the_next_request_on(
    desk: Desk, revoked: Callable[[Desk], Awaitable[None]], same: Code, another: Code, flushed: bool
) -> None:
    mine = desk.identity()
    others = desk.identity(session="session-2", owner=Owner("grace"), token_id="token-2")
    assert (await desk.ask(identity=mine)).code is Code.OK
    await revoked(desk)
    if flushed:
        desk.cache.flush()
    if flushed or revoked is agent:
        await desk.look()  # what happens every half second
    desk.time += timedelta(milliseconds=1)
    assert (await desk.ask(identity=mine)).code is same
    of_ada = TokenCall(service="time-tracker", owner="ada")
    assert (await desk.ask(of_ada, identity=others)).code is another


async def test_a_vault_token_made_afterwards_is_good(desk: Desk) -> None:
    await session(desk)
    desk.time += timedelta(seconds=1)
    assert (await desk.ask(identity=desk.identity(token_id="token-2"))).code is Code.OK


async def test_a_provider_without_grants_leaves_others_alone(desk: Desk) -> None:
    assert await revoke.revoke_provider(desk.store, desk.cache, ProviderName("another"), desk.time) == []
    assert (await desk.ask()).code is Code.OK
