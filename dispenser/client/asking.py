"""Asks the vault until there is an answer, a refusal, or no time left."""

import asyncio
import random
from dataclasses import dataclass
from itertools import count

from dispenser.client.errors import DeadlineExceeded, VaultError, refusal
from dispenser.client.renewal import Renewal
from dispenser.client.retry import wait_seconds
from dispenser.client.transport import Transport
from dispenser.protocol import Call, Code, Reply


@dataclass(frozen=True, slots=True)
class Answer:
    """An `ok` reply, and the loop's time just before it was asked for."""

    reply: Reply
    asked_at: float


class Asking:
    """Repeats what a lost connection or an overload has failed; looking a token up twice does no harm."""

    def __init__(self, transport: Transport, renewal: Renewal) -> None:
        self._transport = transport
        self._renewal = renewal
        self._now = asyncio.get_running_loop().time

    async def ask(self, call: Call, *, deadline: float) -> Answer:
        """Raises: VaultError."""
        for attempt in count():
            try:
                return await self._once(call, deadline)
            except VaultError as error:
                left = deadline - self._now()
                wait = wait_seconds(error, attempt, left_seconds=left, entropy=random.random())  # noqa: S311 - jitter
                if wait is None:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: counting does not end")

    async def _once(self, call: Call, deadline: float) -> Answer:
        try:
            async with asyncio.timeout_at(deadline):
                await self._renewal.renew_if_due()
                asked_at = self._now()
                reply = await self._transport.ask(call, deadline=deadline)
        except TimeoutError:
            raise self._transport.trouble() or DeadlineExceeded(str(DeadlineExceeded.__doc__)) from None
        if reply.code is not Code.OK:
            raise refusal(reply)
        return Answer(reply, asked_at)
