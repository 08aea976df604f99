"""A warning when a handler blocks the event loop, on which all calls run.

Trio tells an instrument of each step of each task: what runs from one await to the next. A step of
a handler, or of a task that it has started, should take well below a frame's 20 ms.
"""

from contextvars import ContextVar
from time import perf_counter

import trio

from service import logs

_log = logs.get(__name__)

#: A longer step is told, in seconds. Shorter ones may be the garbage collector's.
BLOCKED_SECONDS = 0.05
#: The next warning comes so many seconds after the last one, at the earliest.
_PAUSE_SECONDS = 10.0

#: The handler whose task this is; tasks that it starts have it from it.
handler: ContextVar[str] = ContextVar("handler")


async def warn_of_blocking() -> None:
    """Warn of handlers' long steps, until cancelled."""
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        await trio.sleep_forever()
    finally:
        trio.lowlevel.remove_instrument(steps)


class _Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self._began = perf_counter()
        self._quiet_until = float("-inf")
        self._untold = 0

    def after_io_wait(self, timeout: float) -> None:
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        now = perf_counter()
        # A step begins where the one before it ends: a hook before each would cost as much again.
        seconds, self._began = now - self._began, now
        if seconds < BLOCKED_SECONDS or handler not in task.context:
            return
        if now < self._quiet_until:
            self._untold += 1
            return
        # The task's own context has the call's id, which the log line gets from it.
        task.context.run(
            _log.warning,
            "handler_blocked",
            handler=task.context[handler],
            seconds=round(seconds, 3),
            untold=self._untold,
        )
        self._quiet_until, self._untold = now + _PAUSE_SECONDS, 0
