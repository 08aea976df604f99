"""The clock of all calls that speak: it asks each for its next audio every 20 ms.

A Trio task for each call would take four times the processor. So one task serves all calls, in
SLOTS groups, one after the other, which spreads their frames over the 20 ms.
"""

from collections.abc import Callable

import trio

from service.calls.playout import FRAME_SECONDS

#: How many groups the calls are spread over.
SLOTS = 4
#: So many calls speak, then other tasks get their turn.
_AT_ONCE = 64

Speak = Callable[[float], None]


class Clock:
    """Calls each `speak` that was added every 20 ms, with Trio's time; `run` it in a nursery."""

    def __init__(self) -> None:
        self._slots: tuple[dict[Speak, None], ...] = tuple({} for _ in range(SLOTS))
        self._wanted = trio.Event()

    def add(self, speak: Speak) -> None:
        """Have it called from now on; it must not raise."""
        if not any(speak in slot for slot in self._slots):
            min(self._slots, key=len)[speak] = None
            self._wanted.set()

    def remove(self, speak: Speak) -> None:
        """Have it called no more."""
        for slot in self._slots:
            slot.pop(speak, None)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._wanted.wait()
            due = trio.current_time()
            while any(self._slots):
                for slot in self._slots:
                    due = max(due + FRAME_SECONDS / SLOTS, trio.current_time() - FRAME_SECONDS)
                    await trio.sleep_until(due)
                    for number, speak in enumerate(list(slot), 1):
                        if speak in slot:
                            speak(trio.current_time())
                        if number % _AT_ONCE == 0:
                            await trio.lowlevel.checkpoint()
            self._wanted = trio.Event()
