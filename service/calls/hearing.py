"""What is heard in a two-way call: the caller's audio and events, on their way to the handler."""

from collections.abc import Callable
from time import perf_counter

import trio

from service.calls.inbox import Inbox
from service.calls.terms import Terms
from service.dialects.events import Event
from service.tally import Tally


class Hearing:
    """One call's way in. Audio is PCM16, mono, little-endian, at the caller's sample rate.

    `hold` is called to have the caller not read, and read again.
    """

    def __init__(self, terms: Terms, tally: Tally, hold: Callable[[bool], None]) -> None:
        self._tally, self._hold_caller = tally, hold
        self._bytes_per_second = terms.sample_rate * 2
        self._inbox = Inbox(self._bytes_per_second, tally, live=terms.live)
        self._came = trio.lowlevel.ParkingLot()
        self._listening = False  # a task waits for what is heard
        self._held = False
        self._last_came = self._last_seconds = 0.0
        self._ended = False

    async def next(self) -> bytes | Event | None:
        """Return the next audio, as pcm, or the next event; None once there will be none.

        Raises trio.BusyResourceError while another task waits here. A cancellation loses nothing.
        """
        if self._listening:
            raise trio.BusyResourceError("another task hears this call")
        self._listening = self._inbox.listening = True
        try:
            # Nothing below waits then; a handler that asks on and on must not hold up the others.
            if self._inbox or self._ended:
                await trio.lowlevel.checkpoint()
            while not self._inbox:
                if self._ended:
                    return None
                await self._came.park()
        finally:
            self._listening = False
        item = self._inbox.take()
        if self._held and self._inbox.half_empty:
            self._hold(False)
        return item

    def take(self, pcm: bytes) -> None:
        """Keep audio for the handler, and count when it came."""
        if not pcm:
            return
        now, seconds = perf_counter(), len(pcm) / self._bytes_per_second
        if self._last_came:
            late = abs(now - self._last_came - self._last_seconds)
            self._tally.interarrival_jitter_seconds.add(late)
        self._last_came, self._last_seconds = now, seconds
        self.keep(pcm)
        self._tally.queue_seconds["inbound"].add(self._inbox.seconds)

    def keep(self, item: bytes | Event) -> None:
        """Keep audio or an event for the handler."""
        self._inbox.keep(item)
        if self._inbox.full:
            self._hold(True)
        self._came.unpark()

    def over(self) -> None:
        """Take note that nothing more will be heard; whoever waits is told."""
        self._ended = True
        self._hold_caller = _nobody  # a cycle otherwise, as in `Speech`
        self._came.unpark_all()

    def _hold(self, held: bool) -> None:
        if held is not self._held and not self._ended:
            self._held = held
            self._hold_caller(held)


def _nobody(held: bool) -> None:
    """Stand for the caller, who has left."""
