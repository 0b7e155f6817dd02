"""A message to the dispensers: the calls in it, and what comes back for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dispenser import protocol, sealed_frame
from dispenser.client.amqp_session import HeldSession
from dispenser.client.errors import VaultError, VaultUnreachable
from dispenser.protocol import MalformedFrame, Reply
from dispenser.sealed_frame import Kind, Refused
from dispenser.sealed_session import Unopened

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Waiting:
    """A call, and whoever waits for its reply."""

    packed: bytes = field(repr=False)
    #: By the event loop's clock.
    deadline: float
    reply: asyncio.Future[Reply]
    #: Its message, when that is on its way.
    asked: "Asked | None" = None

    def give_up(self) -> None:
        """Its caller has left."""
        if self.asked is not None:
            self.asked.settle()


@dataclass(frozen=True, slots=True)
class Message:
    """Calls that travel together."""

    plain: bytes = field(repr=False)
    waiting: Sequence[Waiting]
    #: Once more, in a new session: the dispensers did not know the first.
    again: bool = False

    @property
    def settled(self) -> bool:
        """Every call in it is answered, has failed, or is given up."""
        return all(each.reply.done() for each in self.waiting)

    def fail(self, error: VaultError) -> None:
        """Nobody in it waits any longer."""
        fail(self.waiting, error)
        self.release()

    def release(self) -> None:
        """Else its calls and what they were asked in hold each other, and the replies, as garbage."""
        for each in self.waiting:
            each.asked = None


class Asked:
    """A message that is on its way, until it is settled."""

    def __init__(
        self,
        message_id: str,
        session: HeldSession,
        message: Message,
        unknown: Callable[[HeldSession, Message], None],
        *,
        forget: Callable[[str], None],
    ) -> None:
        self._id = message_id
        self._session = session
        self._message = message
        self._unknown = unknown
        self._forget = forget
        for waiting in message.waiting:
            waiting.asked = self

    def hear(self, body: bytes) -> None:
        try:
            match sealed_frame.kind(body, protocol.MAX_REPLY_BYTES + sealed_frame.MAX_TICKET_BYTES):
                case Kind.REPLIES:
                    self._answered(body)
                case Kind.REFUSAL:
                    self._refused(sealed_frame.read_refusal(body))
        except (MalformedFrame, Unopened):
            # Whoever knows a message's id can send such things, and must not be able to end it by that.
            _log.debug("A message that no dispenser has sent was passed over")

    def fail(self, error: VaultError) -> None:
        self._message.fail(error)
        self._forget(self._id)

    def settle(self) -> None:
        """One more of its calls waits no longer."""
        if self._message.settled:
            self._forget(self._id)
            self._message.release()

    def _answered(self, body: bytes) -> None:
        plain = self._session.sealed.open_answer(Kind.REPLIES, self._id, body)
        try:
            answers = protocol.decode_replies(plain)
        except MalformedFrame as error:
            self.fail(VaultError(f"The vault's answer cannot be read. {error}"))
            return
        waiting = self._message.waiting
        for index, answer in answers:
            if index < len(waiting) and not waiting[index].reply.done():
                waiting[index].reply.set_result(answer)
        self.settle()

    def _refused(self, refused: Refused | None) -> None:
        self._forget(self._id)
        if refused is Refused.UNKNOWN_TICKET:
            self._unknown(self._session, self._message)
        else:
            self.fail(VaultUnreachable(f"A request was altered on its way ({refused or 'unknown'})."))


def fail(waiting: Sequence[Waiting], error: VaultError) -> None:
    """Those of them that still wait."""
    for each in waiting:
        if not each.reply.done():
            each.reply.set_exception(error)
            each.reply.exception()  # seen, even if its caller leaves in the same tick
