"""One conversation over a socket that is never waited for: read, answer, write, keep deadlines.

While a reply cannot be written, nothing is read: the exchange waits for writability, until the
send deadline ends it as stuck.
"""

import select
import socket
import ssl
from collections import deque
from time import perf_counter

import trio

from service.conversation import Conversation, Message
from service.ending import ABORTED, STUCK, Ending, idle
from service.net.links import StreamLink
from service.websocket.wire import PING, frame

#: What a socket raises, plain or with TLS, that would have to wait.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: How many replies are gathered before they are written, in bytes.
GATHER_BYTES = 16384

#: Single messages that were read, for `answer`.
Inbox = list[tuple["Exchange", Message]]
#: What they were answered, for `write` and `count`: message, reply, and the reply's frame.
Outbox = list[tuple["Exchange", Message, Message, bytes]]


class Exchange:
    """One conversation over one socket; it ends once, with an ending or with a bug.

    `epoll` serves the socket from here on, until it ends.
    """

    __slots__ = (
        "_answered", "_conversation", "_epoll", "_heard", "_idle_seconds", "_idle_since", "_link",
        "_messages", "_others", "_pinged", "_silent_since", "_socket", "_unsent", "_unsent_since",
        "_wire", "_written_at", "bug", "descriptor", "ending", "finished", "read_at",
    )  # fmt: skip

    def __init__(
        self,
        epoll: select.epoll,
        transport: socket.socket,
        link: StreamLink,
        conversation: Conversation,
        idle_seconds: float,
    ) -> None:
        self._epoll, self._socket = epoll, transport
        self._link, self._wire = link, link.wire
        self._conversation = conversation
        self._idle_seconds = idle_seconds
        self.descriptor = transport.fileno()
        self._messages: deque[Message] | tuple[()] = ()  # read, and not yet answered
        self._answered: list[tuple[Message, Message]] = []  # answered, and not yet written
        self._unsent = b""
        self.read_at = 0.0
        self._written_at: float | None = None
        self._heard = self._others = 0  # messages, and reads without one, since the last sweep
        now = trio.current_time()
        self._unsent_since = self._silent_since = self._idle_since = now
        self._pinged = False
        self.ending = ABORTED
        self.bug: Exception | None = None
        self.finished = trio.Event()
        epoll.register(self.descriptor, select.EPOLLIN)

    def serve(self, buffer: bytearray, inbox: Inbox) -> int:
        """Do what the socket is ready for; return how many bytes were read, into the buffer.

        A single message with nothing around it, the common case, goes into the inbox.
        """
        try:
            if self._unsent:
                self._write_on()
                return 0
            try:
                size = self._socket.recv_into(buffer)
            except _NOT_NOW:
                return 0
            except OSError:
                size = 0
            self.read_at = perf_counter()
            message = self._wire.whole(buffer, size)
            if message is None:
                self._read_on(bytes(buffer[:size]))
            else:
                inbox.append((self, message))
            return size
        except Exception as bug:
            self._fail(bug)
            return 0

    def answer(self, message: Message, outbox: Outbox) -> None:
        """Answer a single message; its reply goes into the outbox."""
        try:
            self._heard += 1
            reply = self._conversation.receive(message)
            if type(reply) is Ending:
                self._end(reply)
            else:
                outbox.append((self, message, reply, frame(reply)))
        except Exception as bug:
            self._fail(bug)

    def write(self, framed: bytes) -> None:
        """Write the frame of a single message's reply, or what the socket takes of it."""
        if self._write(framed):
            self._written_at = perf_counter()
        else:
            self._written_at = None
            self._wait_for_writing()

    def count(self, message: Message, reply: Message) -> None:
        """Count the reply to a single message, now or when all of it is written."""
        try:
            if self._written_at is None:
                self._answered.append((message, reply))
            else:
                self._conversation.replied(message, reply, self._written_at - self.read_at)
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
            self._epoll.modify(self.descriptor, select.EPOLLIN)
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
            self._epoll.modify(self.descriptor, select.EPOLLOUT)

    def _write(self, data: bytes) -> bool:
        """Write what the socket takes, keep the rest; return whether nothing is left."""
        try:
            sent = self._socket.send(data)
        except _NOT_NOW:
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
        if self.finished.is_set():
            return
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
            self._epoll.unregister(self.descriptor)
            self.finished.set()

    def leave(self) -> bytes:
        """Leave the socket for good; return what was answered and could not be written."""
        self._end(ABORTED)
        return self._unsent
