"""Who is on the line: admission, the live calls, why not ready, and the drain's wait.

Everything here decides at once and does no I/O; whoever asks does what it says.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

#: How many calls are ended before health, metrics and the other calls get their turn.
_DISMISSED_AT_ONCE = 8


class Roster:
    """The calls of one service, at most `max_sessions` at a time.

    `draining` says that the service is going away; `accepting`, which stays true for the notice
    time, that it still takes calls.
    """

    def __init__(self, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.draining = False
        self.accepting = True
        self._calls: set[trio.CancelScope] = set()
        self._empty = trio.Event()

    @property
    def active(self) -> int:
        """The number of calls on the line, those being answered included."""
        return len(self._calls)

    def refusal(self) -> str | None:
        """Return why no further call is admitted, `draining` or `at_capacity`, or None."""
        if not self.accepting:
            return "draining"
        return "at_capacity" if self.active >= self.max_sessions else None

    def unready(self) -> str | None:
        """Return why the service is not ready, `draining` or `at_capacity`, or None."""
        return "draining" if self.draining else self.refusal()

    @contextmanager
    def call(self) -> Iterator[trio.CancelScope]:
        """Keep a call on the line; its scope is cancelled when the call has to end for a drain.

        Ask `refusal` first, without an await in between.
        """
        scope = trio.CancelScope()
        self._calls.add(scope)
        try:
            yield scope
        finally:
            self._calls.discard(scope)
            if not self._calls:
                self._empty.set()

    async def dismiss(self) -> None:
        """End every call that is still on the line, some at each wake-up of the event loop."""
        for number, scope in enumerate(list(self._calls)):
            scope.cancel()
            if number % _DISMISSED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def wait_empty(self) -> None:
        """Return when nobody is on the line; meant for when no call is admitted any more."""
        while self._calls:
            self._empty = trio.Event()
            await self._empty.wait()
