from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from shared.errors import StoreUnavailable
from shared.rounds import Rounds

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Item_contra = TypeVar("Item_contra", contravariant=True)
Answer_co = TypeVar("Answer_co", covariant=True)
#: Calls that share one transaction, at most.
MOST: Final = 64


class Alone(Enum):
    """Of one call in a transaction for many: it was left out, and needs one of its own."""

    ALONE = "alone"


class Transaction(Protocol[Item_contra, Answer_co]):
    """What answers some calls in one transaction, in their order."""

    def __call__(
        self, items: Sequence[Item_contra], /, *, patient: bool
    ) -> Awaitable[Sequence[Answer_co | Alone]]:
        """`patient`: it waits for rows that others have locked, and leaves nothing out."""


class Together(Generic[Item, Answer]):
    """One kind of call: those that are made at once share a transaction, which costs more than any of them.

    Each hears of it once it has committed. Where it fails, so have all. A statement that the database refuses
    is one's own mistake, and a row that somebody else has locked holds up who wants it: nothing was written
    for these yet, and each is tried alone.
    """

    def __init__(self, transact: Transaction[Item, Answer]) -> None:
        self._transact = transact
        self._rounds: Rounds[Item, Answer | Alone] = Rounds(self._round, limit=MOST)

    async def call(self, item: Item) -> Answer:
        """The answer to one call. Raises: StoreUnavailable."""
        answer = await self._rounds.join(item)
        if isinstance(answer, Alone):
            [answer] = await self._transact([item], patient=True)
        assert not isinstance(answer, Alone)  # noqa: S101 - it was patient
        return answer

    async def _round(self, items: Sequence[Item]) -> Sequence[Answer | Alone]:
        try:
            return await self._transact(items, patient=False)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - whose mistake it is hears of it when it is tried alone
            return [Alone.ALONE] * len(items)
