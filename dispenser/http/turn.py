import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from dispenser.http.callers import DOOR
from dispenser.http.door import Door
from dispenser.http.problems import Refused, of_reply
from dispenser.protocol import Call, Reply
from dispenser.vault_token import Identity

REQUEST_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A caller's turn to have one call answered."""

    door: Door
    caller: Identity
    request_id: str
    #: By the loop's clock.
    begun: float
    deadline: float

    async def answer(self, call: Call) -> Reply:
        """The dispenser's reply, counted."""
        reply = await self.door.dispenser.answer(
            self.caller,
            call,
            request_id=self.request_id,
            door=DOOR,
            deadline_seconds=max(0.0, self.deadline - _now()),
        )
        self.door.metrics.replied(DOOR, reply.code, _now() - self.begun)
        return reply


@asynccontextmanager
async def turn(door: Door, caller: Identity, deadline_seconds: float) -> AsyncIterator[Turn]:
    """Wait for the caller's turn. Raises: Refused where it has asked for too much."""
    begun, request_id = _now(), door.entropy(REQUEST_ID_BYTES).hex()
    refusal = await door.dispenser.admit(
        caller, 1, request_id=request_id, door=DOOR, deadline_seconds=deadline_seconds
    )
    if refusal is not None:
        door.metrics.replied(DOOR, refusal.code, _now() - begun)
        raise Refused(of_reply(refusal))
    try:
        yield Turn(
            door=door, caller=caller, request_id=request_id, begun=begun, deadline=begun + deadline_seconds
        )
    finally:
        door.dispenser.ended(caller)


def _now() -> float:
    return asyncio.get_running_loop().time()
