"""An agent's sealed session with the dispensers: opened when it is needed, and again before it ends."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import keyset, opening, sealed_frame, sealed_session
from dispenser.client.amqp_post import Post
from dispenser.client.credential import Credential
from dispenser.client.errors import (
    Misconfigured,
    Overloaded,
    Unauthenticated,
    VaultError,
    VaultUnreachable,
    refusal,
)
from dispenser.client.flights import Flights
from dispenser.client.tasks import Tasks
from dispenser.frame import MalformedFrame
from dispenser.keyset import PublicKey, Untrusted
from dispenser.opening import Opened, Opening
from dispenser.protocol import Reply
from dispenser.sealed_frame import ID_BYTES, NONCE_BYTES, Kind, Refused
from dispenser.sealed_session import SECRET_BYTES, SealedSession, Unopened

OPENING_SECONDS: Final = 10.0
#: The share of its life after which a session is replaced by a new one.
RENEWED_AFTER: Final = 0.8
#: A key that has just ended, or been withdrawn, is asked for anew once.
_ATTEMPTS: Final = 2

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class HeldSession:
    """A session that is open."""

    sealed: SealedSession = field(repr=False)
    ticket: bytes = field(repr=False)
    #: By the event loop's clock: from then on another is opened.
    used_until: float


class Sessions:
    """One session for all who ask over a connection."""

    def __init__(
        self, post: Post, credential: Credential, key: Ed25519PrivateKey | None, tasks: Tasks
    ) -> None:
        """`key`: the one that the vault token is bound to, where it is."""
        self._post = post
        self._credential = credential
        self._key = key
        self._keyset: tuple[PublicKey, ...] = ()
        self._held: HeldSession | None = None
        self._opening: Flights[HeldSession] = Flights(tasks)
        self._now = asyncio.get_running_loop().time

    async def current(self) -> HeldSession:
        """The session to ask in. Raises: VaultError."""
        if self._held is not None and self._now() < self._held.used_until:
            return self._held
        return await self._opening.join("session", self._open)

    def forget(self, session: HeldSession) -> None:
        """The dispensers no longer know it."""
        if self._held is session:
            self._held = None

    def adopt(self, credential: Credential) -> None:
        """Goes on with a renewed vault token, in a session of its own."""
        self._credential = credential
        self._held = None

    def seal(self, session: HeldSession, plain: bytes) -> bytes:
        """A request's message."""
        return session.sealed.seal_request(session.ticket, self._post.place, plain, os.urandom(NONCE_BYTES))

    async def _open(self) -> HeldSession:
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                self._held = await self._opened()
        except TimeoutError:
            raise VaultUnreachable(
                f"No dispenser has opened a session within {OPENING_SECONDS:.0f} s: is `dispenser serve` up?"
            ) from None
        return self._held

    async def _opened(self) -> HeldSession:
        for _ in range(_ATTEMPTS):
            answer = await self._answered(await self._transport_key())
            match answer:
                case HeldSession():
                    return answer
                case Refused.UNKNOWN_KEY:
                    self._keyset = ()
                case refused:
                    raise _refused(refused)
        raise VaultUnreachable("The dispensers lack a key that they publish: do they share a database?")

    async def _answered(self, key: PublicKey) -> HeldSession | Refused:
        shown = Opening(
            vault_token=self._credential.text, secret=os.urandom(SECRET_BYTES), sent_at=time.time()
        )
        began = self._now()
        body = opening.seal(shown, key.public, key.id, self._post.place, self._key)
        sealed = SealedSession(sealed_session.derived(shown.secret, body))

        def read(answer: bytes) -> HeldSession | Refused | None:
            found = _read_answer(sealed, body, answer)
            if isinstance(found, Opened):
                return HeldSession(sealed, found.ticket, began + RENEWED_AFTER * found.life_seconds)
            return found

        return await self._asked(body, read)

    async def _transport_key(self) -> PublicKey:
        key = keyset.current(self._keyset, time.time())
        if key is None:
            self._keyset = await self._asked(_keyset_request(), self._read_keyset)
            # One whose day has just ended is still held.
            key = keyset.current(self._keyset, time.time()) or self._keyset[-1]
        return key

    def _read_keyset(self, body: bytes) -> tuple[PublicKey, ...] | None:
        if sealed_frame.kind(body) is not Kind.KEYSET:
            return None
        try:
            return keyset.verified(body, self._credential.text, time.time())
        except Untrusted as error:
            raise Unauthenticated(str(error)) from None

    async def _asked(self, body: bytes, read: Callable[[bytes], T | None]) -> T:
        """What comes back for a message. `read` passes over, by None, what is no answer."""
        answer = _Answer(read)
        message_id = await self._post.send(body, answer, life_seconds=OPENING_SECONDS)
        try:
            return await answer.future
        finally:
            self._post.forget(message_id)


class _Answer(Generic[T]):
    """The first that can be read as one."""

    def __init__(self, read: Callable[[bytes], T | None]) -> None:
        self._read = read
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def hear(self, body: bytes) -> None:
        try:
            found = self._read(body)
        except (MalformedFrame, Unopened):
            _log.debug("A message that no dispenser has sent was passed over")
        except VaultError as error:
            self.fail(error)
        else:
            if found is not None and not self.future.done():
                self.future.set_result(found)

    def fail(self, error: VaultError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen, even if nobody waits any more


def _keyset_request() -> bytes:
    return sealed_frame.header(Kind.KEYSET_REQUEST) + os.urandom(ID_BYTES)


def _read_answer(sealed: SealedSession, asked: bytes, body: bytes) -> Opened | Refused | None:
    """Raises: MalformedFrame, Unopened, and what a refusal stands for."""
    match sealed_frame.kind(body):
        case Kind.REFUSAL:
            return sealed_frame.read_refusal(body)
        case Kind.OPENED:
            plain = sealed.open_answer(Kind.OPENED, sealed_frame.identifier(asked), body)
            answer = opening.decode_answer(plain)
            if isinstance(answer, Reply):
                raise refusal(answer)
            return answer
        case _:
            return None


def _refused(refused: Refused) -> VaultError:
    if refused is Refused.UNOPENED:
        return Misconfigured(
            "The dispensers cannot open what is sealed for this virtual host. VAULT_URL and the dispensers'"
            " DISPENSER_BROKER_URL have to name the same one."
        )
    if refused is Refused.OVERLOADED:
        return Overloaded("Too many sessions are opened for this RabbitMQ user at once.", retry_after=1.0)
    return VaultError(f"The dispensers do not understand this client ({refused}): upgrade the older.")
