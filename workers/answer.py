from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Self

import msgpack

from shared.model import Client
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
    #: Which client's the credential was that it answers: what it brought is that client's too, whatever is
    #: declared by the time it is read.
    client: Client | None = None

    @classmethod
    def of(cls, response: HttpResponse, sent_at: datetime, client: Client | None = None) -> Self:
        """The parts of a response that matter."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return cls(
            status=response.status,
            retry_after=headers.get("retry-after"),
            body=response.body,
            sent_at=sent_at,
            client=client,
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The answer that `pack` made."""
        status, retry_after, body, sent_at, client = msgpack.unpackb(packed)
        return cls(
            status=status,
            retry_after=retry_after,
            body=body,
            sent_at=datetime.fromtimestamp(sent_at, UTC),
            client=None if client is None else Client(**client),
        )

    @property
    def accepted(self) -> bool:
        """The provider did what it was asked, if its status is to be believed."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def pack(self) -> bytes:
        """For the spool. Holds tokens: to be sealed at once."""
        client = None if self.client is None else asdict(self.client)
        return bytes(
            msgpack.packb([self.status, self.retry_after, self.body, self.sent_at.timestamp(), client])
        )
