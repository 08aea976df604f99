"""The calls on the line: admission, why the service is not ready, and the wait of a drain.

Everything here decides at once and does no I/O; the caller of a method acts on its answer.
"""

from types import TracebackType

import trio

from service.tally import Refusal

#: A drain ends so many calls, then /health, /metrics and the other calls get their turn.
_DISMISSED_AT_ONCE = 8


class Roster:
    """The calls of one service, at most `max_sessions` at a time.

    `draining`: shutting down, so not ready. `accepting`: still admits calls; true during the
    notice time.
    """

    def __init__(self, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.draining = False
        self.accepting = True
        self._places: set[Place] = set()
        self._empty = trio.Event()

    @property
    def active(self) -> int:
        """The number of calls on the line, those being answered included."""
        return len(self._places)

    def refusal(self) -> Refusal | None:
        """Return why no further call is admitted, or None."""
        if not self.accepting:
            return Refusal.DRAINING
        return Refusal.AT_CAPACITY if self.active >= self.max_sessions else None

    def unready(self) -> Refusal | None:
        """Return why the service is not ready, or None."""
        return Refusal.DRAINING if self.draining else self.refusal()

    def admit(self) -> "Place | Refusal":
        """Give a call a place on the line, to be used as a context manager, or refuse it."""
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        place = Place(self)
        self._places.add(place)
        return place

    def release(self, place: "Place") -> None:
        """Take back the place of a call that is over."""
        self._places.discard(place)
        if not self._places:
            self._empty.set()

    async def dismiss(self) -> None:
        """End every call that is still on the line, some at each wake-up of the event loop."""
        for number, place in enumerate(list(self._places)):
            place.scope.cancel()
            if number % _DISMISSED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def wait_empty(self) -> None:
        """Return when nobody is on the line; meant for when no call is admitted any more."""
        while self._places:
            self._empty = trio.Event()
            await self._empty.wait()


class Place:
    """One call's place on the line; `with` it the call's scope, which a drain cancels."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.scope = trio.CancelScope()

    def __enter__(self) -> trio.CancelScope:
        return self.scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._roster.release(self)
