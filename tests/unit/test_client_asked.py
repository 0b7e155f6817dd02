"""A message on its way is forgotten when nobody in it waits any longer, however that came."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field

import pytest

from dispenser import protocol
from dispenser.client.amqp_asked import Asked, Message, Waiting
from dispenser.client.amqp_session import HeldSession
from dispenser.client.errors import VaultError, VaultUnreachable
from dispenser.protocol import Code, Reply
from dispenser.sealed_frame import Kind, Refused, refusal
from dispenser.sealed_session import SealedSession, SessionKeys

ID = "0" * 32
SESSION = HeldSession(SealedSession(SessionKeys(b"k" * 32, b"r" * 32)), b"ticket", 1e9)


@dataclass(eq=False)
class Sent:
    """A message of so many calls, and what became of it."""

    calls: int
    forgotten: list[str] = field(default_factory=list)
    unknown: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        future = asyncio.get_running_loop().create_future
        self.message = Message(b"", [Waiting(b"", 0.0, future()) for _ in range(self.calls)])
        self.asked = Asked(
            ID,
            SESSION,
            self.message,
            lambda _, message: self.unknown.append(message),
            forget=self.forgotten.append,
        )

    def answer(self, *indices: int) -> None:
        plain = protocol.encode_replies((index, Reply(code=Code.OK)) for index in indices)
        self.asked.hear(SESSION.sealed.seal_answer(Kind.REPLIES, ID, plain, b"n" * 12))

    def leave(self, index: int) -> None:
        waiting = self.message.waiting[index]
        waiting.reply.cancel()
        waiting.give_up()


async def test_it_is_forgotten_with_its_last_answer() -> None:
    sent = Sent(3)
    sent.answer(2)
    sent.answer(0, 2, 7)
    assert not sent.forgotten
    sent.answer(1)
    assert sent.forgotten == [ID]
    assert [waiting.reply.result().code for waiting in sent.message.waiting] == [Code.OK] * 3


async def test_callers_who_leave_are_waited_for_no_longer() -> None:
    sent = Sent(3)
    sent.leave(0)
    sent.answer(1, 0)
    assert not sent.forgotten
    sent.leave(2)
    assert sent.forgotten == [ID]


async def test_what_was_never_sent_can_be_left_too() -> None:
    waiting = Waiting(b"", 0.0, asyncio.get_running_loop().create_future())
    waiting.reply.cancel()
    waiting.give_up()
    assert Message(b"", [waiting]).settled


async def test_it_is_forgotten_when_it_fails() -> None:
    sent = Sent(2)
    sent.answer(1)
    sent.asked.fail(VaultUnreachable("lost"))
    assert sent.forgotten == [ID]
    with pytest.raises(VaultUnreachable):
        await sent.message.waiting[0].reply
    assert sent.message.waiting[1].reply.result().code is Code.OK


async def test_an_unknown_session_is_told_with_all_that_still_waits() -> None:
    sent = Sent(2)
    sent.asked.hear(refusal(Refused.UNKNOWN_TICKET))
    assert (sent.forgotten, sent.unknown) == ([ID], [sent.message])
    assert not sent.message.settled


async def test_an_altered_message_fails() -> None:
    sent = Sent(1)
    sent.asked.hear(refusal(Refused.UNOPENED))
    with pytest.raises(VaultError, match="altered"):
        await sent.message.waiting[0].reply


async def test_answers_are_not_held_by_the_garbage_of_their_message() -> None:
    sent = Sent(2)
    asked = weakref.ref(sent.asked)
    gc.disable()
    try:
        sent.answer(0, 1)
        del sent.asked
        assert asked() is None
    finally:
        gc.enable()
