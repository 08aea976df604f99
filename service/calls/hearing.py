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
        self._hold_caller = hold
        self._jitter_seconds = tally.interarrival_jitter_seconds
        self._queue_seconds = tally.queue_seconds["inbound"]
        self._bytes_per_second = terms.sample_rate * 2
        self._inbox = Inbox(self._bytes_per_second, tally, live=terms.live)
        self._listening = False  # a task waits for what is heard
        self._waiting: trio.lowlevel.Task | None = None  # it, while nothing is here for it
        self._item: bytes | Event | None = None  # what it was handed
        self._held = False
        self._size = -1  # of the last audio,
        self._seconds = 0.0  # how long it plays,
        self._next_due = 0.0  # and when more should come
        self._ended = False

    async def next(self) -> bytes | Event | None:
        """Return the next audio, as pcm, or the next event; None once there will be none.

        Raises trio.BusyResourceError while another task waits here. A cancellation loses nothing.
        """
        if self._listening:
            raise trio.BusyResourceError("another task hears this call")
        inbox = self._inbox
        self._listening = inbox.listening = True
        try:
            # Nothing below waits then; a handler that asks on and on must not hold up the others.
            if inbox.items or self._ended:
                await trio.lowlevel.checkpoint()
            if inbox.items:
                item: bytes | Event | None = inbox.take()
                if self._held and inbox.half_empty:
                    self._hold(False)
            elif self._ended:
                item = None
            else:
                # The next item will find this task waiting, and never see the inbox.
                self._waiting = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._wait_no_more)
                item, self._item = self._item, None
            return item
        finally:
            self._listening = False

    def leave(self) -> None:
        """Take note that the handler listens no more, until it asks again."""
        if not self._listening:
            self._inbox.listening = False
            self._hold(False)

    def _wait_no_more(self, raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def take(self, pcm: bytes) -> None:
        """Keep audio for the handler, and count when it came."""
        size = len(pcm)
        if size != self._size:
            if not size:
                return
            self._size, self._seconds = size, size / self._bytes_per_second
        now = perf_counter()
        if self._next_due:
            self._jitter_seconds.add(abs(now - self._next_due))
        self._next_due = now + self._seconds
        # The usual case of `keep`, by itself: what is handed over never waits in the inbox.
        if self._waiting is not None:
            self._hand_over(pcm)
            self._queue_seconds.add(0)
        else:
            self.keep(pcm)
            self._queue_seconds.add(self._inbox.seconds)

    def keep(self, item: bytes | Event) -> None:
        """Keep audio or an event for the handler; one that waits has it at once."""
        if self._waiting is not None:
            self._hand_over(item)
            return
        self._inbox.keep(item)
        if self._inbox.full:
            self._hold(True)

    def over(self) -> None:
        """Take note that nothing more will be heard; whoever waits is told."""
        self._ended = True
        self._hold_caller = _nobody  # a cycle otherwise, as in `Speech`
        if self._waiting is not None:
            self._hand_over(None)

    def _hand_over(self, item: bytes | Event | None) -> None:
        assert self._waiting is not None
        trio.lowlevel.reschedule(self._waiting)
        self._waiting, self._item = None, item

    def _hold(self, held: bool) -> None:
        if held is not self._held and not self._ended:
            self._held = held
            self._hold_caller(held)


def _nobody(held: bool) -> None:
    """Stand for the caller, who has left."""
