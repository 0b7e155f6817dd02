from collections.abc import Callable, Iterable
from typing import Final

from dispenser.amqp.frames import Confirm
from dispenser.amqp.transport import Message
from dispenser.client.errors import Overloaded, Unroutable, VaultError

FULL: Final = "RabbitMQ refused the request: the dispensers' queue is full."


class Confirms:
    """What the broker says of the messages published on a channel: only a refusal is told.

    It counts them, and confirms by their numbers (https://www.rabbitmq.com/docs/confirms).
    """

    def __init__(self, refused: Callable[[str, VaultError], None]) -> None:
        """`refused` hears the id of a message that nobody will answer, and why."""
        self._refused = refused
        self._last = 0
        #: Ids of those that are not confirmed yet, by their numbers, in order.
        self._open: dict[int, str] = {}

    def published(self, message_id: str) -> None:
        """The next message is this one."""
        self._last += 1
        self._open[self._last] = message_id

    def confirmed(self, confirm: Confirm) -> None:
        """The broker has taken a message, or all up to it, or has not."""
        numbers: Iterable[int] = (confirm.tag,)
        if confirm.multiple:
            numbers = [number for number in self._open if number <= confirm.tag]
        for number in numbers:
            message_id = self._open.pop(number, None)
            if message_id is not None and not confirm.accepted:
                self._refused(message_id, Overloaded(FULL))

    def returned(self, message: Message) -> None:
        """No queue takes this one: it is confirmed all the same."""
        self._refused(message.properties.correlation_id or "", Unroutable(str(Unroutable.__doc__)))
