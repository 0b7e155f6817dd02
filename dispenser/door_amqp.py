"""The AMQP door: translates deliveries to calls and replies to messages. Decides nothing of its own."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from dispenser import replies, sealed_frame, sealed_session
from dispenser.dispense import Dispenser
from dispenser.metrics import Metrics
from dispenser.opening import Opening
from dispenser.place import Place
from dispenser.protocol import (
    DEFAULT_DEADLINE_SECONDS,
    MAX_CALLS,
    Call,
    Code,
    MalformedFrame,
    Reply,
    Request,
    decode_request,
    encode_replies,
    service_of,
)
from dispenser.sealed_frame import Kind, Refused
from dispenser.sealed_session import Unopened
from dispenser.sender import addressed_to_sender
from dispenser.sessions import Sessions, UnknownKey
from dispenser.ticket import Session, UnknownTicket
from dispenser.vault_token import Identity
from shared import topology
from shared.ports import Ack, Bus, Clock, Delivery, Settlement

DOOR: Final = "amqp"
#: Requests in hand in one process, most of them waiting in their agents' lanes. As many as the broker's queue
#: holds, so that nobody's requests wait there behind somebody else's.
PREFETCH: Final = 5000
#: A reply is dropped by the broker when nobody has taken it after so many seconds.
REPLY_LIFE_SECONDS: Final = 30.0
DEFECT: Final = "The vault has a fault of its own; its log says more."
MISADDRESSED: Final = "The reply address is not one of the sender's own, so there is none to answer."
STOLEN: Final = "The vault token is another agent's than the one that RabbitMQ knows the sender as."
ALTERED: Final = "The request was altered on its way, or made for another place or session."
UNTIMELY: Final = "The request is not of now: it was repeated by somebody, or the agent's clock is wrong."
#: What of the refusals is no everyday matter: somebody has tampered with a message.
_SUSPICIOUS: Final = frozenset({Refused.WRONG_ID, Refused.UNOPENED})
log = structlog.get_logger()


class AmqpDoor:
    """Serves the RPC queue."""

    def __init__(
        self,
        bus: Bus,
        dispenser: Dispenser,
        sessions: Sessions,
        *,
        metrics: Metrics,
        clock: Clock,
        vhost: str,
        queue: str = topology.RPC_QUEUE,
    ) -> None:
        """`vhost`: the virtual host that the bus is in. `queue`: the one that its requests are taken from.

        Whichever it is, agents seal them for `vault.rpc.token`, behind which they know of no shards.
        """
        self._bus = bus
        self._dispenser = dispenser
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._vhost = vhost
        self._queue = queue

    async def open(self) -> None:
        """Take requests from now on, on this and every later connection."""
        await self._bus.consume(self._queue, self.handle, prefetch=PREFETCH)

    async def handle(self, delivery: Delivery) -> Settlement:
        """Answer one message. It is always done with: a request that failed is asked again by its agent."""
        if not addressed_to_sender(delivery):
            log.warning("Request refused: its reply address is not its sender's", user=delivery.user_id)
            self._metrics.dropped(DOOR, "misaddressed")
            await self._dispenser.refuse(MISADDRESSED, door=DOOR, broker_user=delivery.user_id or "nobody")
            return Ack()
        try:
            await self._received(delivery)
        except MalformedFrame:
            await self._turn_away(delivery, Refused.MALFORMED)
        except UnknownKey:
            await self._turn_away(delivery, Refused.UNKNOWN_KEY)
        except UnknownTicket:
            await self._turn_away(delivery, Refused.UNKNOWN_TICKET)
        except Unopened:
            await self._turn_away(delivery, Refused.UNOPENED)
        return Ack()

    async def _received(self, delivery: Delivery) -> None:
        kind = sealed_frame.kind(delivery.body)
        if delivery.correlation_id != sealed_frame.identifier(delivery.body):
            await self._turn_away(delivery, Refused.WRONG_ID)
        elif kind is Kind.KEYSET_REQUEST:
            await self._send(delivery, self._sessions.keyset())
        elif kind is Kind.OPENING:
            await self._open(delivery)
        elif kind is Kind.REQUEST:
            await self._ask(delivery)
        else:
            raise MalformedFrame("This kind of message is a dispenser's to send.")

    async def _open(self, delivery: Delivery) -> None:
        if self._dispenser.admission.stranger(_sender(delivery)) is not None:
            await self._turn_away(delivery, Refused.OVERLOADED)
            return
        shown, proven = self._sessions.shown(delivery.body, self._place(delivery))
        identity = await self._known(delivery, shown, proven)
        if isinstance(identity, Reply):
            await self._send(delivery, self._sessions.refused(delivery.body, shown, identity))
        else:
            await self._send(delivery, self._sessions.opened(delivery.body, shown, identity))

    async def _known(self, delivery: Delivery, shown: Opening, proven: str | None) -> Identity | Reply:
        if not self._timely(shown.sent_at):
            return await self._refuse(delivery, UNTIMELY, None)
        identity = await self._dispenser.authenticate(shown.vault_token, door=DOOR, proven=proven)
        if isinstance(identity, Reply):
            return identity
        return await self._vouched(delivery, identity) or identity

    async def _ask(self, delivery: Delivery) -> None:
        begun = _now()
        frame = sealed_frame.read_request(delivery.body)
        session = self._sessions.of(frame.ticket)
        plain = session.sealed.open_request(frame, self._place(delivery))
        try:
            request = decode_request(plain)
        except MalformedFrame as error:
            # Nobody can tell how many calls it holds: the refusal is for each it may hold.
            invalid = Reply(code=Code.INVALID_REQUEST, reason=str(error))
            await self._refused(delivery, session, MAX_CALLS, invalid)
            return
        deadline_seconds = _deadline_seconds(request, delivery)
        refusal = await self._refusal(delivery, session.identity, request, deadline_seconds)
        if refusal is not None:
            await self._refused(delivery, session, len(request.calls), refusal)
            return
        await self._answer(delivery, session, request.calls, begun, begun + deadline_seconds)

    async def _refused(self, delivery: Delivery, session: Session, calls: int, refusal: Reply) -> None:
        if self._is_worth_a_reply(delivery, refusal.code):
            await self._answered(delivery, session, [(index, refusal) for index in range(calls)])

    async def _answer(
        self, delivery: Delivery, session: Session, calls: Sequence[Call], begun: float, deadline: float
    ) -> None:
        """Of calls that were admitted: each ends, sooner or later. A defect is the answer to the rest."""
        pending = dict(enumerate(calls))
        found = self._dispenser.answers(
            session.identity,
            calls,
            request_id=str(delivery.correlation_id),
            door=DOOR,
            deadline_seconds=deadline - _now(),
        )
        try:
            async with aclosing(found):
                async for answers in found:
                    for index, _ in answers:
                        del pending[index]
                    self._dispenser.ended(session.identity, len(answers))
                    self._count(answers, _now() - begun)
                    await self._answered(delivery, session, answers)
        except Exception as error:
            # A request that meets a defect must not come back from the queue to meet it again, for ever.
            log.exception("A request met a defect", kind=type(error).__name__)
            defects = [(i, replies.overloaded(service_of(call), DEFECT)) for i, call in pending.items()]
            await self._answered(delivery, session, defects)
        finally:
            if pending:
                self._dispenser.ended(session.identity, len(pending))

    def _count(self, answers: Sequence[tuple[int, Reply]], seconds: float) -> None:
        """One reply may be for many calls."""
        told = {id(reply): reply for _, reply in answers}
        for which, calls in Counter([id(reply) for _, reply in answers]).items():
            self._metrics.replied(DOOR, told[which].code, seconds, calls)

    async def _answered(
        self, delivery: Delivery, session: Session, answers: Sequence[tuple[int, Reply]]
    ) -> None:
        asked = str(delivery.correlation_id)
        for each in _frames(answers):
            await self._send(delivery, self._sessions.sealed_replies(session, asked, each))

    def _is_worth_a_reply(self, delivery: Delivery, code: str) -> bool:
        worth = self._dispenser.admission.is_worth_a_reply(_sender(delivery))
        if worth:
            self._metrics.replied(DOOR, code, 0.0)
        else:
            self._metrics.dropped(DOOR, code)
        return worth

    async def _refusal(
        self, delivery: Delivery, identity: Identity, request: Request, deadline_seconds: float
    ) -> Reply | None:
        """Why it is not answered. None: its turn has come."""
        if not self._timely(request.sent_at):
            return await self._refuse(delivery, UNTIMELY, identity)
        if (refusal := await self._vouched(delivery, identity)) is not None:
            return refusal
        return await self._dispenser.admit(
            identity,
            len(request.calls),
            request_id=str(delivery.correlation_id),
            door=DOOR,
            deadline_seconds=deadline_seconds,
        )

    async def _vouched(self, delivery: Delivery, identity: Identity) -> Reply | None:
        if self._dispenser.vouched(str(delivery.user_id), identity):
            return None
        return await self._refuse(delivery, STOLEN, identity)

    async def _turn_away(self, delivery: Delivery, refused: Refused) -> None:
        """Tell, unsealed, why a message was not opened."""
        log.debug("A message was not opened", why=refused.value, user=delivery.user_id)
        if refused in _SUSPICIOUS:
            await self._refuse(delivery, ALTERED, None)
        if self._is_worth_a_reply(delivery, refused.value):
            await self._send(delivery, sealed_frame.refusal(refused))

    async def _refuse(self, delivery: Delivery, reason: str, identity: Identity | None) -> Reply:
        return await self._dispenser.refuse(
            reason,
            broker_user=delivery.user_id,
            door=DOOR,
            identity=identity,
            request_id=str(delivery.correlation_id),
        )

    async def _send(self, delivery: Delivery, body: bytes) -> None:
        await self._bus.reply(str(delivery.reply_to), str(delivery.correlation_id), body, REPLY_LIFE_SECONDS)

    def _timely(self, sent_at: float) -> bool:
        return sealed_session.timely(sent_at, self._clock().timestamp())

    def _place(self, delivery: Delivery) -> Place:
        return Place(
            vhost=self._vhost,
            queue=topology.RPC_QUEUE,
            user=str(delivery.user_id),
            reply_to=str(delivery.reply_to),
        )


def _frames(answers: Sequence[tuple[int, Reply]]) -> Iterator[bytes]:
    """As few frames as the answers fit into."""
    try:
        yield encode_replies(answers)
    except MalformedFrame:
        if len(answers) == 1:
            raise
        middle = len(answers) // 2
        yield from _frames(answers[:middle])
        yield from _frames(answers[middle:])


def _deadline_seconds(request: Request, delivery: Delivery) -> float:
    """The message's own expiration and the request's word for it: the earlier counts."""
    expiration = delivery.expiration_seconds
    stated = min(request.deadline_seconds, DEFAULT_DEADLINE_SECONDS * 3)
    return stated if expiration is None else min(stated, expiration)


def _sender(delivery: Delivery) -> str:
    return f"amqp {delivery.user_id}"


def _now() -> float:
    return asyncio.get_running_loop().time()
