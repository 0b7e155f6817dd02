"""What can go wrong at a token endpoint, one class each, and the queue of what goes wrong next."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, whatever it says."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Canned:
    """A fault that answers with something else than the provider's own answer."""

    #: The request is carried out all the same: "500, but rotated".
    processed: bool = field(default=False, kw_only=True)

    def reply(self) -> Reply:
        """What the client gets to see."""
        return Reply(status=503)


@dataclass(frozen=True, slots=True)
class Status(Canned):
    """A status alone, as a gateway in front of the provider sends it."""

    status: int = 503

    def reply(self) -> Reply:
        return Reply(status=self.status, body="upstream failed", content_type="text/plain")


@dataclass(frozen=True, slots=True)
class RateLimited(Canned):
    """429, to be tried again after a number of seconds."""

    retry_after: int = 1

    def reply(self) -> Reply:
        body = json.dumps({"error": "rate_limited"})
        return Reply(status=429, body=body, headers={"Retry-After": str(self.retry_after)})


@dataclass(frozen=True, slots=True)
class Html(Canned):
    """A page for people where a token should be."""

    status: int = 200

    def reply(self) -> Reply:
        return Reply(status=self.status, body="<html>Under maintenance</html>", content_type="text/html")


@dataclass(frozen=True, slots=True)
class Empty(Canned):
    """200 without a body."""

    def reply(self) -> Reply:
        return Reply(status=200)


@dataclass(frozen=True, slots=True)
class ErrorAnswer(Canned):
    """An OAuth error under a status of one's own: 403 `invalid_grant`, 500 `server_error`."""

    error: str = "invalid_grant"
    status: int = 400

    def reply(self) -> Reply:
        return Reply(status=self.status, body=json.dumps({"error": self.error}))


@dataclass(frozen=True, slots=True)
class ErrorIn200(Canned):
    """An error under status 200."""

    error: str = "bad_refresh_token"

    def reply(self) -> Reply:
        return Reply(status=200, body=json.dumps({"ok": False, "error": self.error}))


@dataclass(frozen=True, slots=True)
class InvalidClient(Canned):
    """The client's own registration is refused: nobody's refresh token is to blame."""

    def reply(self) -> Reply:
        return Reply(status=401, body=json.dumps({"error": "invalid_client"}))


@dataclass(frozen=True, slots=True)
class ResetBefore:
    """The connection is reset; the request was not carried out."""


@dataclass(frozen=True, slots=True)
class ResetAfterProcessing:
    """The request is carried out (a refresh token is spent) and the connection reset before the answer."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """The request is carried out and the connection closed in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class FormEncoded:
    """The answer is a form instead of JSON."""


@dataclass(frozen=True, slots=True)
class DropRefreshToken:
    """A refresh is answered without a refresh token: the old one stays (RFC 6749 §6)."""


@dataclass(frozen=True, slots=True, eq=False)
class Hang:
    """The provider stops for `seconds`, or until released, and then goes on as if nothing were."""

    #: None: until `release`.
    seconds: float | None = None
    #: It stops after carrying the request out instead of before.
    processed: bool = field(default=False, kw_only=True)
    # Futures of threads: the provider and the test have each an event loop.
    _reached: Future[None] = field(default_factory=Future, init=False, repr=False)
    _released: Future[None] = field(default_factory=Future, init=False, repr=False)

    def release(self) -> None:
        """Let the request go on. May be called from any thread."""
        _settle(self._released)

    async def reached(self) -> None:
        """Return once a request hangs here."""
        await asyncio.wait([asyncio.wrap_future(self._reached)])

    async def hold(self) -> None:
        """Stay until released or until `seconds` have passed."""
        _settle(self._reached)
        await asyncio.wait([asyncio.wrap_future(self._released)], timeout=self.seconds)


Fault = Canned | ResetBefore | ResetAfterProcessing | Truncated | FormEncoded | DropRefreshToken | Hang

KINDS: Final[Mapping[str, type[Fault]]] = {
    kind.__name__: kind
    for kind in (
        Status, RateLimited, Html, Empty, ErrorAnswer, ErrorIn200, InvalidClient,
        ResetBefore, ResetAfterProcessing, Truncated, FormEncoded, DropRefreshToken, Hang,
    )
}  # fmt: skip


def from_fields(fields: Mapping[str, Any]) -> Fault:
    """The fault that `{"fault": "Status", "status": 503}` names. Raises: ValueError."""
    arguments = dict(fields)
    kind = KINDS.get(arguments.pop("fault", ""))
    try:
        if kind is None:
            raise TypeError
        return kind(**arguments)
    except TypeError:
        raise ValueError(f"A fault is one of {', '.join(KINDS)}, with its own fields.") from None


class Faults:
    """What happens to the next token requests, in order. May be used from any thread."""

    def __init__(self) -> None:
        self._queue: deque[Fault] = deque()
        self._standing: Fault | None = None
        self._hangs: list[Hang] = []

    def next(self, *faults: Fault) -> None:
        """One token request each, after those already queued."""
        self._queue.extend(faults)

    def always(self, fault: Fault) -> None:
        """Every token request that has no fault of its own, until `clear`."""
        self._standing = fault

    def clear(self) -> None:
        """No more faults; requests that hang go on."""
        self._queue.clear()
        self._standing = None
        for hang in self._hangs:
            hang.release()

    def take(self) -> Fault | None:
        """The fault of the request that came in now."""
        fault = self._queue.popleft() if self._queue else self._standing
        if isinstance(fault, Hang):
            self._hangs.append(fault)
        return fault


def _settle(event: Future[None]) -> None:
    if not event.done():
        event.set_result(None)
