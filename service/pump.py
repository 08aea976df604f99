"""The fast data path: many connections on one wake-up.

Trio takes about 7 us to wake a task, more than all our work on a frame. So one task, the pump,
waits for a shared epoll; each turn it serves the sockets that are ready, directly: it reads and
answers some, then writes their replies, which in a row cost the kernel less. What one connection
does cannot hold up another:

- a connection that cannot be written keeps its reply, is not read, and waits for writability,
  until the send deadline ends it as stuck;
- a turn serves at most TURN_SECONDS before other tasks run;
- an exception of one conversation ends that conversation, in its own task.

The task that carries a conversation sleeps until it is over, and its cancellation takes the
connection out of the pump, so a session still belongs to its handler.
"""

import select
import socket
from collections import deque
from time import perf_counter

import trio

from service.ending import ABORTED, STUCK, Ending, idle
from service.link import READ_BYTES, Conversation, Message, StreamLink
from service.wire import PING, frame

#: How long the pump may work before other tasks get a turn, in seconds.
TURN_SECONDS = 0.002
#: How many connections are read before their replies are written.
AT_ONCE = 32
#: How often deadlines are looked at, in seconds; they are kept to within this.
SWEEP_SECONDS = 0.25
#: How many replies are gathered before they are written, in bytes.
GATHER_BYTES = 16384


class Pump:
    """Serves the connections given to it; `run` belongs in the server's nursery."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self.buffer = bytearray(READ_BYTES)  # what was read last
        self.outbox: list[tuple[_Connection, Message, Message]] = []  # replies of this turn

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._epoll:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._turn()

    def _turn(self) -> None:
        until = perf_counter() + TURN_SECONDS
        connections, outbox = self._connections, self.outbox
        # epoll goes round, so that those who were not served now come first in the next turn.
        while ready := self._epoll.poll(0, AT_ONCE):
            for descriptor, _ in ready:
                connection = connections.get(descriptor)
                if connection is not None:
                    connection.serve()
                    if connection.read_at > until:
                        break
            for connection, message, reply in outbox:
                connection.deliver(message, reply)
            outbox.clear()
            if perf_counter() > until:
                break

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._look_at_deadlines()

    def _look_at_deadlines(self) -> None:
        # Not in the task itself, whose frame would keep the last connection until the next sweep.
        now = trio.current_time()
        for connection in list(self._connections.values()):
            connection.look_at_deadlines(now)

    def add(self, connection: "_Connection") -> None:
        """Begin to serve a connection."""
        self._connections[connection.descriptor] = connection
        self._epoll.register(connection.descriptor, select.EPOLLIN)

    def wait_for_writing(self, connection: "_Connection", writing: bool) -> None:
        """Choose whether the connection waits to be written or to be read."""
        self._epoll.modify(connection.descriptor, select.EPOLLOUT if writing else select.EPOLLIN)

    def remove(self, connection: "_Connection") -> None:
        """Serve a connection no more."""
        if self._connections.pop(connection.descriptor, None) is not None:
            self._epoll.unregister(connection.descriptor)


class _Connection:
    """One socket in the pump with its conversation; it ends once, with an ending or with a bug."""

    __slots__ = (
        "_answered", "_conversation", "_heard", "_idle_seconds", "_idle_since", "_link",
        "_messages", "_others", "_pinged", "_pump", "_silent_since", "_socket", "_unsent",
        "_unsent_since", "_wire", "bug", "descriptor", "ending", "finished", "read_at",
    )  # fmt: skip

    def __init__(
        self, pump: Pump, link: "PumpedLink", conversation: Conversation, idle_seconds: float
    ) -> None:
        self._pump, self._link, self._wire = pump, link, link.wire
        self._conversation = conversation
        self._idle_seconds = idle_seconds
        self._socket = link.socket
        self.descriptor = self._socket.fileno()
        self._messages: deque[Message] | tuple[()] = ()  # read, and not yet answered
        self._answered: list[tuple[Message, Message]] = []  # answered, and not yet written
        self._unsent = b""
        self.read_at = 0.0
        self._heard = self._others = 0  # messages, and reads without one, since the last sweep
        now = trio.current_time()
        self._unsent_since = self._silent_since = self._idle_since = now
        self._pinged = False
        self.ending = ABORTED
        self.bug: Exception | None = None
        self.finished = trio.Event()

    def serve(self) -> None:
        """Do what the socket is ready for."""
        try:
            if self._unsent:
                self._write_on()
                return
            buffer = self._pump.buffer
            try:
                size = self._socket.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            self.read_at = perf_counter()
            message = self._wire.whole(buffer, size)
            if message is None:
                self._read_on(bytes(buffer[:size]))
                return
            # A single message with nothing around it: the common case, without a detour.
            self._heard += 1
            reply = self._conversation.receive(message)
            if isinstance(reply, Ending):
                self._end(reply)
            else:
                self._pump.outbox.append((self, message, reply))
        except Exception as bug:
            self._fail(bug)

    def deliver(self, message: Message, reply: Message) -> None:
        """Write the reply to the single message that was read."""
        try:
            if self._write(frame(reply)):
                self._conversation.replied(message, reply, perf_counter() - self.read_at)
            else:
                self._answered.append((message, reply))
                self._wait_for_writing()
        except Exception as bug:
            self._fail(bug)

    def _fail(self, bug: Exception) -> None:
        self.bug = bug
        self._end(ABORTED)

    def _read_on(self, data: bytes) -> None:
        """Answer whatever else may come: many messages, parts of one, control frames, the end."""
        if not data:
            self._end(ABORTED)
            return
        messages = self._wire.feed(data)
        self._heard += len(messages)
        self._others += not messages
        self._messages = deque(messages)
        self._answer()

    def _write_on(self) -> None:
        """Write what is left; when all is out, answer what was read and read again."""
        if self._write(self._unsent):
            self._unsent = b""
            self._pump.wait_for_writing(self, False)
            self._note_written()
            self._answer()

    def _answer(self) -> None:
        """Answer all messages that were read; stop where a write has to wait."""
        wire = self._wire
        # Pongs do not queue behind media; the answer to a close comes behind everything.
        gathered = wire.take_replies() if wire.ending is None else b""
        while self._messages:
            message = self._messages.popleft()
            reply = self._conversation.receive(message)
            if isinstance(reply, Ending):
                self._send(gathered)
                self._end(reply)
                return
            gathered += frame(reply)
            self._answered.append((message, reply))
            if len(gathered) >= GATHER_BYTES:
                if not self._send(gathered):
                    return
                gathered = b""
        if self._send(gathered) and wire.ending is not None:
            self._end(wire.ending)

    def _send(self, data: bytes) -> bool:
        """Write and return True, or keep what is left and wait for writability."""
        if data and not self._write(data):
            self._wait_for_writing()
            return False
        self._note_written()
        return True

    def _wait_for_writing(self) -> None:
        if not self.finished.is_set():
            self._unsent_since = trio.current_time()
            self._pump.wait_for_writing(self, True)

    def _write(self, data: bytes) -> bool:
        """Write what the socket takes, keep the rest; return whether nothing is left."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(ABORTED)
            return False
        if sent == len(data):
            return True
        self._unsent = data[sent:]
        return False

    def _note_written(self) -> None:
        seconds = perf_counter() - self.read_at
        for message, reply in self._answered:
            self._conversation.replied(message, reply, seconds)
        self._answered.clear()

    def look_at_deadlines(self, now: float) -> None:
        """End the conversation if it is stuck, idle or dead; ping if it is silent."""
        link = self._link
        if self._unsent:
            if now - self._unsent_since >= link.send_seconds:
                self._end(STUCK)
            return
        if self._heard:
            self._heard, self._idle_since = 0, now
            self._others += 1
        elif now - self._idle_since >= self._idle_seconds:
            self._end(idle(self._idle_seconds))
            return
        if self._others:
            self._others, self._silent_since, self._pinged = 0, now, False
        elif link.ping_seconds:
            silent = now - self._silent_since
            if silent >= link.ping_seconds + link.pong_seconds:
                self._end(ABORTED)
            elif silent >= link.ping_seconds and not self._pinged:
                self._pinged = True
                self._send(PING)

    def _end(self, ending: Ending) -> None:
        if not self.finished.is_set():
            self.ending = ending
            self._pump.remove(self)
            self.finished.set()

    def leave(self) -> bytes:
        """Leave the pump for good; return what was answered and could not be written."""
        self._pump.remove(self)
        return self._unsent


class PumpedLink(StreamLink):
    """A link over plain TCP whose conversation is carried by the pump.

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
        self.socket = transport

    async def carry(self, conversation: Conversation, idle_seconds: float) -> Ending:
        connection = _Connection(self._pump, self, conversation, idle_seconds)
        self._pump.add(connection)
        try:
            await connection.finished.wait()
        finally:
            self.unsent = connection.leave()
        if connection.bug is not None:
            raise connection.bug
        return connection.ending
