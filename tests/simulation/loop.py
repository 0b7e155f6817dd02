import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from simulation.process import CURRENT, Killed, Process

T = TypeVar("T")
#: Callbacks of one run: one that takes more spins.
MOST_STEPS: Final = 3_000_000
_CLOSINGS: Final = 50


class Deadlock(Exception):
    """Everything waits, and nothing is left that could happen."""


class Spinning(Exception):
    """A run takes more steps than any honest one."""


class Step(asyncio.TimerHandle):
    """A callback. A run makes thousands, and nobody debugs a loop here: leaner than asyncio's own."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None

    def cancel(self) -> None:
        """Its place in the heap, or in its process's turn, is passed over."""
        self._cancelled = True
        self._callback = self._args = None


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, without sockets and threads, for many simulated processes.

    Within a process callbacks keep asyncio's order; which process takes the next step is chance's choice, as
    it is between real ones. Time stands still while anybody has work, and then jumps to the next timer.
    Whoever gives the same chance sees the same run.
    """

    def __init__(self, chance: Callable[[], float], world: Process) -> None:
        """`chance`: uniform in [0, 1). `world`: whom callbacks without a process belong to."""
        super().__init__()
        self._chance = chance
        self._world = world
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbered = 0
        self._runnable: list[Process] = []
        self._made: list[asyncio.Task[Any]] = []
        self._over = False
        self.steps = 0
        #: Seconds that a blocking call takes, such as a write to disk.
        self.blocking_seconds: Callable[[], float] = lambda: 0.0

    def time(self) -> float:
        return self._now

    # ------------------------------------------------------------------------------------------- processes

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        process.alive = False
        process.ready.clear()
        self._rest(process)

    def pause(self, process: Process) -> None:
        """SIGSTOP."""
        process.paused = True
        self._rest(process)

    def resume(self, process: Process) -> None:
        """SIGCONT."""
        process.paused = False
        if process.alive and process.ready:
            self._runnable.append(process)

    def _rest(self, process: Process) -> None:
        if process in self._runnable:
            self._runnable.remove(process)

    # ---------------------------------------------------------------------------------------- what is next

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = Step(self._now, callback, args, self, context)
        self._let_run(handle)
        return handle

    call_soon_threadsafe = call_soon  # nobody is in another thread

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._call_at(self._now + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._call_at(when, callback, args, context)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        # Kept, so that a killed process's tasks are not ended by the garbage collector at a time of its own.
        task = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        self._made.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """In the thread there is, a little later."""
        result: asyncio.Future[T] = self.create_future()
        self.call_later(self.blocking_seconds(), _run_into, result, func, args)
        return result

    def _call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> "Step":
        handle = Step(when, callback, args, self, context)
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, handle))
        return handle

    def _let_run(self, handle: "Step") -> None:
        process = handle._context.get(CURRENT, self._world)
        if self._over or not process.alive:
            return
        ready = process.ready
        if not ready and not process.paused:
            self._runnable.append(process)
        ready.append(handle)

    def _run_once(self) -> None:
        # Many times: asyncio asks between any two calls whether it should stop, which a step can tell itself.
        runnable, chance = self._runnable, self._chance
        while not self._stopping:
            while not runnable:
                self._pass_time()
            place = int(chance() * len(runnable)) if len(runnable) > 1 else 0
            ready = runnable[place].ready
            handle = ready.popleft()
            if not ready:
                runnable[place] = runnable[-1]
                runnable.pop()
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise Spinning(f"More than {MOST_STEPS} steps, and only {self._now:.0f} s have passed.")
            if not handle._cancelled:
                handle._run()

    def _pass_time(self) -> None:
        if not self._timers:
            raise Deadlock(f"Nothing is left to happen at {self._now:.3f} s.")
        when, _, handle = heapq.heappop(self._timers)
        if not handle._cancelled:
            self._now = max(self._now, when)
            self._let_run(handle)

    # --------------------------------------------------------------------------------------------- the end

    def dispose(self) -> None:
        """End what is left of the run, so that nothing of it reaches into the next one."""
        self._over = True
        for task in self._made:
            if not task.done():
                task._log_destroy_pending = False
                _exhaust(task.get_coro())
            elif not task.cancelled():
                task.exception()
        self._made.clear()
        self._timers.clear()
        self.close()

    def forget(self) -> None:
        """Let go of tasks that are done."""
        self._made.clear()

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


def _run_into(result: "asyncio.Future[T]", func: Callable[..., T], args: tuple[Any, ...]) -> None:
    try:
        value = func(*args)
    except Killed:
        return
    except Exception as error:  # noqa: BLE001 - it is whoever waits that minds
        if not result.done():
            result.set_exception(error)
    else:
        if not result.done():
            result.set_result(value)


def _exhaust(coroutine: Any) -> None:
    """Close a coroutine that may await while it is being closed."""
    for _ in range(_CLOSINGS):
        try:
            coroutine.close()
        except RuntimeError:  # it awaits in a `finally`: on to that
            continue
        except BaseException:  # noqa: BLE001 - whatever its `finally` raises is nobody's business any more
            return
        else:
            return
