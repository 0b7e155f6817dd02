import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Final
from urllib.parse import parse_qs, urlsplit

from simulation.disk import Disk
from simulation.history import Ended, History, Processed, Sent, Spooled
from simulation.network import Network, Watch
from simulation.process import CURRENT
from simulation.provider import Result, SimulatedProvider
from simulation.weather import Weather

from shared.ports import Closed, HttpRequest, HttpResponse, NoAnswer, NotSent
from workers.spool import Spool
from workers.spool_entry import Entry
from workers.spool_file import OpenFiles

#: Seconds after which the real client gives up.
PATIENCE: Final = 60.0
_SLOWEST: Final = 59.0


class Reply(Enum):
    """What becomes of a request to a provider."""

    FINE = "fine"
    NOT_SENT = "not sent"
    LOST_THERE = "lost there"  # it never arrives, and nobody says so
    RESET = "reset"  # carried out, and the connection breaks
    SILENT = "silent"  # carried out, and no answer comes
    LATE_THERE = "late there"  # a minute until it is carried out
    LATE_BACK = "late back"  # a minute until the answer comes
    TRUNCATED = "truncated"
    BROKEN = "broken"  # carried out, and answered with 500
    ERROR = "error"  # 500, and nothing was done
    UNAVAILABLE = "unavailable"
    LIMITED = "limited"


_FAULTS: Final = tuple(Reply)[1:]
_NOT_DONE: Final = {Reply.ERROR: 500, Reply.UNAVAILABLE: 503, Reply.LIMITED: 429}
_DONE: Final = frozenset(
    {Reply.FINE, Reply.LATE_THERE, Reply.LATE_BACK, Reply.TRUNCATED, Reply.BROKEN, Reply.RESET, Reply.SILENT}
)


class Requests:
    """Which request a task is about, and which spool entry its answer is for."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._entries: dict[asyncio.Task[object] | None, str] = {}
        self._calls: dict[str, int] = {}

    def reserved(self, entry_id: str) -> None:
        self._entries[asyncio.current_task()] = entry_id

    def begun(self) -> tuple[int, str]:
        """The number of a new request, and its entry."""
        call, entry = next(self._numbers), self._entries.get(asyncio.current_task(), "")
        self._calls[entry] = call
        return call, entry

    def of(self, entry_id: str) -> int:
        """The last request whose answer is for an entry; 0 for none."""
        return self._calls.get(entry_id, 0)


class WatchedSpool(Spool):
    """The spool itself, on a simulated disk; what is durable is written down."""

    def __init__(self, disk: Disk, requests: Requests, history: History) -> None:
        super().__init__(disk.folder)  # type: ignore[arg-type]  # as much of a path as it uses
        self._requests = requests
        self._history = history

    async def reserve(self, entry: Entry) -> None:
        self._requests.reserved(entry.id)
        await super().reserve(entry)

    def _write(self, entry: Entry, sealed: bytes, files: OpenFiles) -> Iterator[None]:
        try:
            yield from super()._write(entry, sealed, files)
        except OSError:
            self._history.add(Spooled, call=self._requests.of(entry.id), durable=False)
            raise
        self._history.add(Spooled, call=self._requests.of(entry.id), durable=True)


class ProviderPort:
    """A refresher's way to the providers."""

    def __init__(  # noqa: PLR0917
        self,
        providers: Mapping[str, SimulatedProvider],
        network: Network,
        weather: Weather,
        requests: Requests,
        history: History,
        watch: Watch,
    ) -> None:
        self._providers = providers
        self._network = network
        self._weather = weather
        self._requests = requests
        self._history = history
        self._watch = watch

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        process, provider = CURRENT.get(), self._provider(request)
        self._watch(process, "provider", "before")
        if not process.running:
            await asyncio.sleep(0)
        call, entry = self._requests.begun()
        token = parse_qs(request.body.decode()).get("refresh_token", [""])[0]
        self._history.add(
            Sent, call=call, process=process.name, provider=provider.habit.name, token=token, entry=entry
        )
        answer: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._leave(call, provider, token, answer)
        return await self._ended(call, answer)

    async def _ended(self, call: int, answer: "asyncio.Future[HttpResponse]") -> HttpResponse:
        process = CURRENT.get()
        try:
            response = await answer
        except NotSent:
            self._history.add(Ended, call=call, how="not sent")
            raise
        except NoAnswer:
            self._history.add(Ended, call=call, how="lost")
            raise
        except asyncio.CancelledError:
            self._history.add(Ended, call=call, how="cancelled")
            raise
        self._history.add(Ended, call=call, how="answered" if _usable(response) else "unusable")
        self._watch(process, "provider", "back")
        if not process.running:
            await asyncio.sleep(0)
        return response

    def _leave(
        self, call: int, provider: SimulatedProvider, token: str, answer: "asyncio.Future[HttpResponse]"
    ) -> None:
        process, reply = CURRENT.get(), self._reply(provider)
        if reply is not Reply.FINE:
            self._weather.told("provider", process.name, provider.habit.name, reply.value)
        later, seconds = self._network.later, self._weather.seconds

        def arrive() -> None:
            if reply in _DONE:
                result = provider.redeem(token)
                self._history.add(
                    Processed, call=call, result=result.code, child=result.child,
                    access_token=result.access_token,
                )  # fmt: skip
                self._watch(process, "provider", "there")
                self._answer(reply, result, answer)
            elif reply in _NOT_DONE:
                later(seconds(), _give, answer, _refusal(reply))

        if reply is Reply.NOT_SENT:
            later(seconds(), _give, answer, NotSent("The simulated provider is not reached."))
            return
        later(self._weather.chance.random() * _SLOWEST if reply is Reply.LATE_THERE else seconds(), arrive)
        later(PATIENCE, _give, answer, NoAnswer("The simulated provider does not answer."))

    def _answer(self, reply: Reply, result: Result, answer: "asyncio.Future[HttpResponse]") -> None:
        later, seconds, response = self._network.later, self._weather.seconds, result.response
        match reply:
            case Reply.SILENT:
                return
            case Reply.RESET:
                later(seconds(), _give, answer, Closed("The simulated connection broke."))
            case Reply.BROKEN:
                later(seconds(), _give, answer, HttpResponse(status=500, headers={}, body=b""))
            case Reply.TRUNCATED:
                cut = replace(response, body=response.body[: len(response.body) // 2])
                later(seconds(), _give, answer, cut)
            case Reply.LATE_BACK:
                later(self._weather.chance.random() * _SLOWEST, _give, answer, response)
            case _:
                later(seconds(), _give, answer, response)

    def _reply(self, provider: SimulatedProvider) -> Reply:
        if "provider" in self._weather.down:
            return Reply.NOT_SENT
        rate = self._weather.rates.get("provider", 0.0)
        if rate and self._weather.chance.random() < rate:
            return self._weather.chance.choice(_FAULTS)
        return Reply.FINE

    def _provider(self, request: HttpRequest) -> SimulatedProvider:
        return self._providers[(urlsplit(request.url).hostname or "").partition(".")[0]]


def _give(answer: "asyncio.Future[HttpResponse]", outcome: HttpResponse | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, HttpResponse):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
        answer.exception()


def _refusal(reply: Reply) -> HttpResponse:
    headers = {"Retry-After": "5"} if reply is Reply.LIMITED else {}
    return HttpResponse(status=_NOT_DONE[reply], headers=headers, body=b"")


def _usable(response: HttpResponse) -> bool:
    try:
        return response.status < 500 and isinstance(json.loads(response.body), dict)
    except ValueError:
        return False
