"""Keys of every kind that the session rests on are replaced under load, and no request fails."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from builders import VAULT
from integration.desk import Desk
from integration.door_agent import serving

from dispenser import Vault
from dispenser.protocol import Code, TokenCall
from dispenser.transport_key import begins_at
from dispenser.vault_token import mint
from shared import keyring
from shared.adapters.amqp_bus import AmqpBus

AGENTS = 4
CALL = TokenCall(service="time-tracker")


class Load:
    """Agents that ask without a pause, and what they are answered."""

    def __init__(self, desk: Desk, vhost: str) -> None:
        self._desk = desk
        self._vhost = vhost
        self._came = asyncio.Condition()
        self.codes: list[Code] = []

    async def while_rotating(self, rotate: Callable[[], Coroutine[Any, Any, None]], times: int) -> None:
        async with AsyncExitStack() as vaults, asyncio.TaskGroup() as group:
            tasks = []
            for number in range(AGENTS):
                identity = self._desk.identity(session=f"session-{number}")
                vault = Vault(self._vhost, mint(self._desk.keys, identity, vault=VAULT))
                await vaults.enter_async_context(vault)
                tasks.append(group.create_task(self._ask(vault)))
            for _ in range(times):
                await self._some_answers()
                await rotate()
            await self._some_answers()
            for task in tasks:
                task.cancel()

    async def _ask(self, vault: Vault) -> None:
        holder: Any = vault._holder
        while True:
            answer = await holder._asking.ask(CALL, deadline=asyncio.get_running_loop().time() + 30)
            async with self._came:
                self.codes.append(answer.reply.code)
                self._came.notify_all()

    async def _some_answers(self) -> None:
        enough = len(self.codes) + 20 * AGENTS
        async with self._came:
            await self._came.wait_for(lambda: len(self.codes) >= enough)


async def test_transport_keys_are_withdrawn_under_load(tmp_path: Path, vhost: str) -> None:
    """At once, as after a theft: nothing that was sealed before opens any more."""
    async with serving(tmp_path, vhost) as desk, asyncio.timeout(120):
        await desk.grant()
        seen = {desk.transport.current.id}

        async def rotate() -> None:
            await desk.withdraw_transport_keys()
            await desk.transport.look()
            seen.add(desk.transport.current.id)

        load = Load(desk, vhost)
        await load.while_rotating(rotate, 3)
        assert set(load.codes) == {Code.OK}
        assert len(seen) == 4


async def test_two_dispensers_change_their_keys_one_after_the_other_under_load(
    tmp_path: Path, vhost: str
) -> None:
    async with serving(tmp_path, vhost) as desk, asyncio.timeout(120):
        await desk.grant()
        bus = AmqpBus(vhost, name="other")
        await bus.start()
        transport, sessions = await desk.process()
        await desk.door(bus, vhost, sessions).open()

        async def rotate() -> None:
            await desk.withdraw_transport_keys()
            await desk.transport.look()
            await asyncio.sleep(0.3)  # as long as two dispensers look at different moments
            await transport.look()

        load = Load(desk, vhost)
        await load.while_rotating(rotate, 2)
        assert set(load.codes) == {Code.OK}
        await bus.close()


async def test_the_day_changes_under_load(tmp_path: Path, vhost: str) -> None:
    async with serving(tmp_path, vhost) as desk, asyncio.timeout(120):
        await desk.grant()
        first = desk.transport.current
        desk.transport._clock = clock = _Clock(desk)

        async def rotate() -> None:
            clock.ahead = begins_at(first.day + 1) - desk.time
            await desk.transport.look()

        load = Load(desk, vhost)
        await load.while_rotating(rotate, 1)
        assert set(load.codes) == {Code.OK}
        assert desk.transport.current.day == first.day + 1


class _Clock:
    """Goes with the desk's, so much ahead."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.ahead = timedelta()

    def __call__(self) -> Any:
        return self._desk.time + self.ahead


async def test_the_vaults_keyring_is_rotated_under_load(tmp_path: Path, vhost: str) -> None:
    """The key that the transport keys are sealed with, and the one that the keyset is signed with."""
    document = keyring.generate()
    keys = keyring.parse(json.dumps(document))
    async with serving(tmp_path, vhost, keys) as desk, asyncio.timeout(120):
        await desk.grant()

        async def rotate() -> None:
            for use in ("transport", "signing"):
                document["keys"].append(keyring.new_key(use, made=desk.time, current_from=desk.time))
            keys.become(keyring.parse(json.dumps(document)))
            await desk.withdraw_transport_keys()
            await desk.transport.look()

        load = Load(desk, vhost)
        await load.while_rotating(rotate, 2)
        assert set(load.codes) == {Code.OK}
        assert keys.primary_id("signing") != document["keys"][2]["id"]
