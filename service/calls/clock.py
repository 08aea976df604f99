"""The clock of all calls that speak: it asks each for its next audio once that is due.

A Trio task for each call would take four times the processor. So one task serves all calls. It
ticks every TICK_SECONDS, and asks all calls that are due by then, so by so much too late at most.
A call whose frames are due every 20 ms is always as late, and its frames keep their distance.
"""

from collections import defaultdict
from collections.abc import Callable
from math import ceil, floor

import trio

_TICKS_A_SECOND = 200
TICK_SECONDS = 1 / _TICKS_A_SECOND
#: So many calls speak, then other tasks get their turn.
_AT_ONCE = 64
#: What the rounding of a sum of floats may be, in ticks.
_ROUNDING = 0.01

Speak = Callable[[float], None]


class Clock:
    """Calls each `speak` at its time, with Trio's time; `run` it in a nursery."""

    def __init__(self) -> None:
        self._ticks: dict[Speak, int] = {}  # the number of the tick at which each is due
        self._due: dict[int, list[Speak]] = defaultdict(list)  # and who was due once at each tick
        self._wanted = trio.Event()

    def ask(self, speak: Speak, when: float) -> None:
        """Have it called once, then; of several times the earliest counts. It must not raise."""
        tick = ceil(when * _TICKS_A_SECOND - _ROUNDING)
        before = self._ticks.get(speak)
        if before is None or tick < before:
            self._ticks[speak] = tick
            self._due[tick].append(speak)
            self._wanted.set()

    def forget(self, speak: Speak) -> None:
        """Have it called no more."""
        self._ticks.pop(speak, None)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._wanted.wait()
            tick = floor(trio.current_time() * _TICKS_A_SECOND)
            while self._due:
                tick = max(tick + 1, floor(trio.current_time() * _TICKS_A_SECOND))
                await trio.sleep_until(tick / _TICKS_A_SECOND)
                for due in sorted(due for due in self._due if due <= tick):
                    await self._ask_all(due)
            self._wanted = trio.Event()

    async def _ask_all(self, tick: int) -> None:
        for number, speak in enumerate(self._due.pop(tick), 1):
            if self._ticks.get(speak) == tick:
                del self._ticks[speak]
                speak(trio.current_time())
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
