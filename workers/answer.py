from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

import msgpack

from shared.ports import HttpResponse

#: The status of an answer that never came, from a provider that is known to be done.
CLOSED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider said, as it is spooled before anybody reads it."""

    #: None: nothing had reached the provider, so asking again is safe. `CLOSED`: it ended the connection.
    status: int | None
    retry_after: str | None = None
    body: bytes = field(default=b"", repr=False)
    #: The moment the request went out: a token's life is counted from it.
    sent_at: datetime

    @classmethod
    def of(cls, response: HttpResponse, sent_at: datetime) -> Self:
        """The parts of a response that matter."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return cls(
            status=response.status,
            retry_after=headers.get("retry-after"),
            body=response.body,
            sent_at=sent_at,
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The answer that `pack` made."""
        status, retry_after, body, sent_at = msgpack.unpackb(packed)
        return cls(
            status=status,
            retry_after=retry_after,
            body=body,
            sent_at=datetime.fromtimestamp(sent_at, UTC),
        )

    def pack(self) -> bytes:
        """For the spool. Holds tokens: to be sealed at once."""
        return bytes(msgpack.packb([self.status, self.retry_after, self.body, self.sent_at.timestamp()]))
