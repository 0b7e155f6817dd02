"""Ten thousand requests for one expired token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from bench.load import ANSWER_SECONDS, Ask
from bench.row import Row
from bench.stage import OWNER, SERVE, Stage

from dispenser.testing.behaviour import Behaviour

REQUESTS = 10_000
CONNECTIONS = 50
#: A grant of its own, whose token lives a second.
SERVICE = "slack-post"
#: The provider's own time for an answer.
PROVIDER_SECONDS = 2.0


async def herd(stage: Stage) -> AsyncIterator[Row]:
    """All at once, over fifty connections."""
    requests = stage.count(REQUESTS)
    stage.start(SERVE)
    async with AsyncExitStack() as stack:
        caller = stage.caller(SERVICE)
        asks = [await stack.enter_async_context(caller()) for _ in range(CONNECTIONS)]
        stage.provider.behaviour = Behaviour(access_token_seconds=1)
        stage.connect(SERVICE, "chat:write")
        stage.vault.outlive_token(SERVICE, OWNER)
        stage.provider.behaviour = Behaviour(
            access_token_seconds=3600, response_delay_seconds=PROVIDER_SECONDS
        )
        before = stage.provider.token_calls
        seconds = await _answered(asks, requests)
        calls = stage.provider.token_calls - before
        stage.provider.behaviour = Behaviour(access_token_seconds=3600)
    name = f"herd of {requests}"
    yield Row(name=f"{name}: calls to the provider", ours=calls, unit="calls", goal=1, better="lower")
    yield Row(
        name=f"{name}: the last answer",
        ours=seconds,
        unit="s",
        goal=2 * PROVIDER_SECONDS + 1,
        better="lower",
    )


async def _answered(asks: list[Ask], requests: int) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.gather(*(asks[number % len(asks)]() for number in range(requests)))
    return clock() - began
