import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from simulation.loop import SimulatedLoop
from simulation.process import CURRENT, Process
from simulation.weather import Fate, Weather

T = TypeVar("T")
#: Told of every step of every call, before it is taken: process, what, and where it stands.
Watch = Callable[[Process, str, str], None]
#: Seconds after which a driver gives up.
PATIENCE: Final = 10.0
_LATEST: Final = 5.0


class Network:
    """Between processes and the world: whatever a process asks for happens there, whether or not it lives on.

    Every call has three moments at which its process may be struck: before it leaves, when it has taken
    effect, and when its answer is back.
    """

    def __init__(self, loop: SimulatedLoop, world: Process, weather: Weather, watch: Watch) -> None:
        self._loop = loop
        self._world = world
        self._weather = weather
        self._watch = watch

    async def call(
        self, port: str, what: str, effect: Callable[[], T], failure: Callable[[], Exception]
    ) -> T:
        """Have the world do something. Raises: what the effect raises, or the failure."""
        process = CURRENT.get()
        self._watch(process, what, "before")
        if not process.running:
            await asyncio.sleep(0)  # where it is struck: nothing of this leaves any more
        fate = self._weather.fate(port, process.name, what)
        answer = self._loop.create_future()
        self.later(
            0.0 if fate is Fate.REFUSED else self._weather.seconds(),
            self._arrive,
            fate,
            effect,
            answer,
            failure,
            process,
            what,
        )
        result: T = await answer
        self._watch(process, what, "back")
        if not process.running:
            await asyncio.sleep(0)
        return result

    def later(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        """Have something happen in the world."""
        return self._loop.call_later(seconds, callback, *arguments, context=self._world.context)

    def _arrive(  # noqa: PLR0917
        self,
        fate: Fate,
        effect: Callable[[], T],
        answer: "asyncio.Future[T]",
        failure: Callable[[], Exception],
        process: Process,
        what: str,
    ) -> None:
        if fate is Fate.FINE or fate is Fate.LOST_BACK:
            value, error = _outcome(effect)
            self._watch(process, what, "there")
            if fate is Fate.FINE:
                self.later(self._weather.seconds(), _settle, answer, value, error)
                return
        elif fate is Fate.LATE:
            self.later(PATIENCE + self._weather.chance.random() * _LATEST, _outcome, effect)
        self.later(0.0 if fate is Fate.REFUSED else PATIENCE, _settle, answer, None, failure())


def _outcome(effect: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What the world answers, whether or not anybody hears of it."""
    try:
        return effect(), None
    except Exception as error:  # noqa: BLE001 - the caller's, like any answer
        return None, error


def _settle(answer: "asyncio.Future[T]", value: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
        answer.exception()  # its asker may have gone
    else:
        answer.set_result(value)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("It waits, where it should be done at once.")
