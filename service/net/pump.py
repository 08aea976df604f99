"""The fast data path: many connections on one wake-up.

Trio takes about 7 us to wake a task, more than all our work on a frame. So one task, the pump,
waits for a shared epoll and serves the sockets that are ready, directly. It reads from a group of
them, answers, writes and counts, each step for the whole group before the next. That takes a
quarter less time than one frame after the other: caches stay warm, and a peer on the same machine
is woken once for many replies.

No connection can hold up another:

- A round serves every socket that is ready once before epoll is asked again. (Epoll alone is not
  fair: it names the same sockets first each time.)
- A connection with more input waits in the backlog (`line`). The backlog has BACKLOG_SECONDS after
  each round, and goes round too. So a flood slows down other floods, not the calls in real time.
- One visit to a connection does a bounded amount of work (`talk`).
- A turn takes TURN_SECONDS, or a round and the backlog's time. Then other tasks run: newcomers,
  /health, endings.
- An exception of one conversation ends that conversation, in its own task.

The task that carries a conversation sleeps until it is over. Its cancellation takes the connection
out of the pump, so a session still belongs to its handler.
"""

import select
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import length_hint
from time import perf_counter

import trio

from service.net.line import Inbox, Line, Outbox
from service.net.stream import READ_BYTES

#: How long the pump may work before other tasks get a turn, in seconds.
TURN_SECONDS = 0.002
#: How long the backlog may take after each round, in seconds; one line has a visit at least.
BACKLOG_SECONDS = 0.001
#: How many sockets epoll may name for one round.
ROUND = 512
#: How many connections, and about how many bytes, are read before they are answered.
AT_ONCE = 32
AT_ONCE_BYTES = 65536
#: At most so many ended calls are cleaned up per wake-up, so a crowd that hangs up delays nobody.
ENDINGS_AT_ONCE = 3
#: How often deadlines are looked at, in seconds; they are kept to within this.
SWEEP_SECONDS = 0.25


class Pump:
    """Serves the lines given to `carry`; `run` belongs in the server's nursery."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}  # by their descriptors
        self._round: Iterator[tuple[int, int]] = iter(())  # the ready sockets not served yet
        self._backlog: deque[Line] = deque()
        self._leaving = trio.Semaphore(ENDINGS_AT_ONCE)
        self._buffer = bytearray(READ_BYTES)  # scratch space for one read, shared by all lines
        self._inbox: Inbox = []
        self._outbox: Outbox = []

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._epoll:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                while True:
                    if self._backlog or length_hint(self._round):
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._turn()

    async def carry(self, line: Line) -> None:
        """Serve a line until it has ended, or until this task is cancelled."""
        self._lines[line.descriptor] = line
        try:
            line.start(self._epoll, self._backlog)
            await line.finished.wait()
            async with self._leaving:
                pass
        finally:
            del self._lines[line.descriptor]
            line.leave()

    def _turn(self) -> None:
        until = perf_counter() + TURN_SECONDS
        inbox, outbox = self._inbox, self._outbox
        while True:
            if not length_hint(self._round):
                ready = self._epoll.poll(0, ROUND)
                if not ready and not self._backlog:
                    return
                self._round = iter(ready)
            self._read_group(until)
            for line, message in inbox:
                line.answer(message, outbox)
            for line, _, framed in outbox:
                line.write(framed)
            for line, message, _ in outbox:
                line.count(message)
            inbox.clear()
            outbox.clear()
            if self._backlog and not length_hint(self._round):
                self._serve_backlog()
                return
            if perf_counter() > until:
                return

    def _read_group(self, until: float) -> None:
        lines, buffer, inbox = self._lines, self._buffer, self._inbox
        size = 0
        for descriptor, _ in islice(self._round, AT_ONCE):
            line = lines.get(descriptor)
            if line is not None:
                size += line.read(buffer, inbox)
                if size >= AT_ONCE_BYTES or line.read_at > until:
                    break

    def _serve_backlog(self) -> None:
        until = perf_counter() + BACKLOG_SECONDS
        while self._backlog:
            self._backlog.popleft().take_turn(self._buffer)
            if perf_counter() > until:
                return

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._look_at_deadlines()

    def _look_at_deadlines(self) -> None:
        # A method of its own: a local of the task would keep the last line until the next sweep.
        now = trio.current_time()
        for line in list(self._lines.values()):
            line.look_at_deadlines(now)
