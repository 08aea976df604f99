"""The fast data path: many connections on one wake-up.

Trio takes about 7 us to wake a task, more than all our work on a frame. So one task, the pump,
waits for a shared epoll; each turn it serves the sockets that are ready, directly. It reads from
some of them, answers what came, writes the replies and counts them, each step for all before the
next: the same work in a row takes a quarter less time than one frame after the other, because
caches stay warm and a peer on the same machine is woken once for many replies. What one
connection does cannot hold up another:

- a connection that cannot be written waits for writability and is not read (`exchange`);
- a turn serves at most TURN_SECONDS before other tasks run, and of those who hang up at once a few
  at a time take their leave;
- an exception of one conversation ends that conversation, in its own task.

The task that carries a conversation sleeps until it is over, and its cancellation takes the
connection out of the pump, so a session still belongs to its handler.
"""

import select
import socket
from time import perf_counter

import trio

from service.conversation import Conversation
from service.ending import Ending
from service.net.line import Exchange, Inbox, Outbox
from service.net.links import READ_BYTES, StreamLink

#: How long the pump may work before other tasks get a turn, in seconds.
TURN_SECONDS = 0.002
#: How many connections, and about how many bytes, are read before they are answered.
AT_ONCE = 32
AT_ONCE_BYTES = 65536
#: How many conversations may wake their tasks at once when they end, to take their leave.
ENDINGS_AT_ONCE = 3
#: How often deadlines are looked at, in seconds; they are kept to within this.
SWEEP_SECONDS = 0.25


class Pump:
    """Serves the connections given to it; `run` belongs in the server's nursery."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.exchanges: dict[int, Exchange] = {}  # by their descriptors
        self.leaving = trio.Semaphore(ENDINGS_AT_ONCE)
        self._buffer = bytearray(READ_BYTES)  # what was read last
        self._inbox: Inbox = []
        self._outbox: Outbox = []

    async def run(self) -> None:
        """Serve until cancelled."""
        with self.epoll:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                while True:
                    await trio.lowlevel.wait_readable(self.epoll.fileno())
                    self._turn()

    def _turn(self) -> None:
        until = perf_counter() + TURN_SECONDS
        inbox, outbox = self._inbox, self._outbox
        # epoll goes round, so that those who were not served now come first in the next turn.
        while ready := self.epoll.poll(0, AT_ONCE):
            self._read(ready, until)
            for exchange, message in inbox:
                exchange.answer(message, outbox)
            for exchange, _, _, framed in outbox:
                exchange.write(framed)
            for exchange, message, reply, _ in outbox:
                exchange.count(message, reply)
            inbox.clear()
            outbox.clear()
            if perf_counter() > until:
                break

    def _read(self, ready: list[tuple[int, int]], until: float) -> None:
        exchanges, buffer, inbox = self.exchanges, self._buffer, self._inbox
        size = 0
        for descriptor, _ in ready:
            exchange = exchanges.get(descriptor)
            if exchange is not None:
                size += exchange.serve(buffer, inbox)
                if size >= AT_ONCE_BYTES or exchange.read_at > until:
                    break

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._look_at_deadlines()

    def _look_at_deadlines(self) -> None:
        # Not in the task itself, whose frame would keep the last exchange until the next sweep.
        now = trio.current_time()
        for exchange in list(self.exchanges.values()):
            exchange.look_at_deadlines(now)


class PumpedLink(StreamLink):
    """A link over TCP, plain or with TLS, whose conversation is carried by the pump.

    `transport` is the socket in the stream: Trio's own only offers calls to be awaited.
    """

    def __init__(
        self,
        pump: Pump,
        transport: socket.socket,
        stream: trio.abc.Stream,
        max_bytes: int,
        send_seconds: float,
        ping_seconds: float,
        pong_seconds: float,
    ) -> None:
        super().__init__(stream, max_bytes, send_seconds, ping_seconds, pong_seconds)
        self._pump = pump
        self._socket = transport

    async def carry(self, conversation: Conversation, idle_seconds: float) -> Ending:
        exchange = Exchange(self._pump.epoll, self._socket, self, conversation, idle_seconds)
        self._pump.exchanges[exchange.descriptor] = exchange
        try:
            await exchange.finished.wait()
            # So that a crowd that hangs up at once does not hold up those who stay.
            async with self._pump.leaving:
                pass
        finally:
            del self._pump.exchanges[exchange.descriptor]
            self.unsent = exchange.leave()
        if exchange.bug is not None:
            raise exchange.bug
        return exchange.ending
