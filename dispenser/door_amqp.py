"""The AMQP door: translates deliveries to calls and replies to messages. Decides nothing of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import structlog

from dispenser import replies
from dispenser.dispense import Dispenser
from dispenser.protocol import (
    DEFAULT_DEADLINE_SECONDS,
    MAX_CALLS,
    Call,
    Code,
    MalformedFrame,
    RenewCall,
    Reply,
    Request,
    decode_request,
    encode_replies,
)
from dispenser.sender import addressed_to_sender
from dispenser.vault_token import Identity
from shared import topology
from shared.ports import Ack, Bus, Delivery, Settlement

DOOR: Final = "amqp"
#: Requests answered at once by one process.
PREFETCH: Final = 100
#: A reply is dropped by the broker when nobody has taken it after so many seconds.
REPLY_LIFE_SECONDS: Final = 30.0
DEFECT: Final = "The vault has a fault of its own; its log says more."
MISADDRESSED: Final = "The reply address is not one of the sender's own, so there is none to answer."
STOLEN: Final = "The vault token is another agent's than the one that RabbitMQ knows the sender as."
log = structlog.get_logger()


class AmqpDoor:
    """Serves the RPC queue."""

    def __init__(self, bus: Bus, dispenser: Dispenser) -> None:
        self._bus = bus
        self._dispenser = dispenser

    async def open(self) -> None:
        """Take requests from now on, on this and every later connection."""
        await self._bus.consume(topology.RPC_QUEUE, self.handle, prefetch=PREFETCH)

    async def handle(self, delivery: Delivery) -> Settlement:
        """Answer one message. It is always done with: a request that failed is asked again by its agent."""
        if not addressed_to_sender(delivery):
            log.warning("Request refused: its reply address is not its sender's", user=delivery.user_id)
            await self._dispenser.refuse(MISADDRESSED, door=DOOR, broker_user=delivery.user_id or "nobody")
            return Ack()
        async for answers in self._replies(delivery):
            await self._send(delivery, answers)
        return Ack()

    async def _replies(self, delivery: Delivery) -> AsyncIterator[Sequence[tuple[int, Reply]]]:
        try:
            request = decode_request(delivery.body)
        except MalformedFrame as error:
            refusal = Reply(code=Code.INVALID_REQUEST, reason=str(error))
            # Nobody can tell how many calls it holds: the refusal is for each it may hold.
            yield [(index, refusal) for index in range(MAX_CALLS)]
            return
        identity = await self._sender(request, delivery)
        if isinstance(identity, Reply):
            yield [(index, identity) for index in range(len(request.calls))]
            return
        deadline_seconds = _deadline_seconds(request, delivery)
        tasks = [
            asyncio.create_task(self._answer(identity, call, request.id, deadline_seconds))
            for call in request.calls
        ]
        async for finished in _as_they_finish(tasks):
            yield [(index, tasks[index].result()) for index in finished]

    async def _sender(self, request: Request, delivery: Delivery) -> Identity | Reply:
        identity = await self._dispenser.authenticate(request.vault_token, door=DOOR)
        if isinstance(identity, Reply) or self._dispenser.vouched(str(delivery.user_id), identity):
            return identity
        return await self._dispenser.refuse(
            STOLEN, door=DOOR, broker_user=delivery.user_id, identity=identity, request_id=request.id
        )

    async def _answer(
        self, identity: Identity, call: Call, request_id: str, deadline_seconds: float
    ) -> Reply:
        try:
            return await self._dispenser.answer(
                identity, call, request_id=request_id, door=DOOR, deadline_seconds=deadline_seconds
            )
        except Exception as error:
            # A request that meets a defect must not come back from the queue to meet it again, for ever.
            log.exception("A request met a defect", kind=type(error).__name__)
            return replies.overloaded(call.service if not isinstance(call, RenewCall) else "", DEFECT)

    async def _send(self, delivery: Delivery, answers: Sequence[tuple[int, Reply]]) -> None:
        for body in _bodies(answers):
            await self._bus.reply(
                str(delivery.reply_to), str(delivery.correlation_id), body, REPLY_LIFE_SECONDS
            )


def _bodies(answers: Sequence[tuple[int, Reply]]) -> Iterator[bytes]:
    """As few frames as the answers fit into."""
    try:
        yield encode_replies(answers)
    except MalformedFrame:
        if len(answers) == 1:
            raise
        middle = len(answers) // 2
        yield from _bodies(answers[:middle])
        yield from _bodies(answers[middle:])


async def _as_they_finish(tasks: Sequence[asyncio.Task[Reply]]) -> AsyncIterator[list[int]]:
    """Indexes of tasks, those together that end together."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            yield [index for index, task in enumerate(tasks) if task in done]
    finally:
        for task in pending:
            task.cancel()


def _deadline_seconds(request: Request, delivery: Delivery) -> float:
    """The message's own expiration and the request's word for it: the earlier counts."""
    expiration = delivery.expiration_seconds
    stated = min(request.deadline_seconds, DEFAULT_DEADLINE_SECONDS * 3)
    return stated if expiration is None else min(stated, expiration)
