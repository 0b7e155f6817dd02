import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

import structlog

from shared import topology
from shared.ending import end
from shared.errors import MalformedMessage, VaultError
from shared.keyring import Keyring
from shared.messages import EnrolmentEvent, ExpiryEvent, HandbackEvent, Reason, RefresherMessage, decode
from shared.ports import (
    AuditJournal,
    Bus,
    Cache,
    Clock,
    DeadLetter,
    Delivery,
    ProviderHttp,
    Settlement,
    Store,
)
from shared.settings import DEFAULT_PUBLIC_URL
from workers.bench import Bench
from workers.conclusion import Conclusion
from workers.enrolment import Enrolments
from workers.flights import Flights
from workers.handbacks import Handbacks
from workers.heartbeat import Heartbeat
from workers.outage import Outage
from workers.replay import Replay
from workers.rotation import Rotation
from workers.settlement import Crashed, Postponed, Result, settle
from workers.spool import Spool

#: Messages in hand at once, by queue. Most of them only wait for their provider's turn, and no more are taken
#: than come to it within their patience (see `standing`) where it moves 25 times a second: what goes back to
#: the broker is read again, and asks the database again.
DUE_PREFETCH: Final = 500
URGENT_PREFETCH: Final = 500
REPLAY_SECONDS: Final = 10.0
UNAVAILABLE_SECONDS: Final = 10.0
log = structlog.get_logger()


class Refresher:
    """Consumes expiry and enrolment events, and keeps every grant fresh.

    Work runs in tasks of its own: whoever asked for it may be cancelled, it is not.
    """

    def __init__(  # noqa: PLR0917 - ports, by name in wiring
        self,
        store: Store,
        bus: Bus,
        cache: Cache,
        http: ProviderHttp,
        keys: Keyring,
        spool: Spool,
        clock: Clock,
        entropy: Callable[[], float],
        name: str,
        public_url: str = DEFAULT_PUBLIC_URL,
        journal: AuditJournal | None = None,
    ) -> None:
        """`entropy`: uniform in [0, 1). `name`: the same after a restart, and no other refresher's.
        `public_url`: the gateway's, for connect addresses in events. `journal`: see `AuditTrail`."""
        self._bus = bus
        bench = Bench.equipped(
            store=store, bus=bus, cache=cache, http=http, keys=keys,
            spool=spool, clock=clock, entropy=entropy, name=name, public_url=public_url,
            journal=journal,
        )  # fmt: skip
        conclusion = Conclusion(bench)
        self._rotation = Rotation(bench, conclusion)
        self._enrolments = Enrolments(bench)
        self._handbacks = Handbacks(bench)
        self._replay = Replay(bench, conclusion, self._enrolments)
        self._flights: Flights[RefresherMessage, Result] = Flights()
        self._outage = Outage("replaying the spool")
        self._heartbeat = Heartbeat(cache, clock, name, lambda: bench.endpoint.answered)
        self._lasting: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier process left, then consume."""
        self._lasting.append(asyncio.create_task(self._heartbeat.keep(), name="heartbeat"))
        await self._attempt(self._replay.at_start)
        self._lasting.append(asyncio.create_task(self._keep_replaying(), name="spool replay"))
        await self._bus.consume(topology.URGENT_QUEUE, self._handle, prefetch=URGENT_PREFETCH)
        await self._bus.consume(topology.DUE_QUEUE, self._handle, prefetch=DUE_PREFETCH)

    async def drain(self) -> None:
        """Return once everything in flight has come to its end. Nothing new is begun meanwhile."""
        await self._flights.land()
        await end(self._lasting)

    async def _handle(self, delivery: Delivery) -> Settlement:
        try:
            message = decode(delivery.body)
        except MalformedMessage as error:
            log.warning("A message for refreshers does not parse", why=str(error))
            return DeadLetter()
        result = await self._flights.join(_without_reason(message), lambda: self._work(message))
        return settle(result or Postponed(0.0, "draining"), _attempt_of(delivery))

    async def _work(self, message: RefresherMessage) -> Result:
        try:
            match message:
                case ExpiryEvent(grant_id=grant_id, generation=generation):
                    return await self._rotation.run(grant_id, generation)
                case EnrolmentEvent(enrolment_id=enrolment_id):
                    return await self._enrolments.run(enrolment_id)
                case HandbackEvent(handback_id=handback_id):
                    return await self._handbacks.run(handback_id)
        except VaultError as error:
            return Postponed(UNAVAILABLE_SECONDS, error.code)
        except Exception as error:  # noqa: BLE001 - one message's bug must not end the others
            # Its text may quote what it choked on, so only its kind and place are told.
            log.critical("Unexpected error", kind=type(error).__name__, where=_place(error))
            return Crashed()

    async def _keep_replaying(self) -> None:
        while True:
            await asyncio.sleep(REPLAY_SECONDS)
            await self._attempt(self._catch_up)

    async def _catch_up(self) -> None:
        await self._replay.spooled()
        await self._enrolments.watch()

    async def _attempt(self, replay: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await replay()
        except VaultError as error:
            self._outage.noticed(error)
        else:
            self._outage.over()


def _without_reason(message: RefresherMessage) -> RefresherMessage:
    """The same work, whyever it is asked for."""
    return replace(message, reason=Reason.DUE) if isinstance(message, ExpiryEvent) else message


def _attempt_of(delivery: Delivery) -> int:
    value = delivery.headers.get(topology.ATTEMPT_HEADER)
    return value if isinstance(value, int) else 0


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
