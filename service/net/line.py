"""One conversation over a non-blocking socket: read, answer, write, and go on later.

A line is in one of four states. Each says which event the epoll reports for the line:

READING   for the next bytes of the peer
WRITING   for room in the socket; until then nothing is read
WAITING   for its turn in the pump's backlog: it has read GREEDY_BYTES, or has messages to answer
HELD      for the conversation, which wants nothing read now; then only for a reset
"""

import select
import ssl
from collections import deque
from time import perf_counter

import trio

from service.conversation import Message
from service.ending import ABORTED, STUCK, Ending
from service.net.stream import NOT_NOW, Transport
from service.net.talk import Talk
from service.websocket.wire import binary_header, frame

READING, WRITING, WAITING = select.EPOLLIN, select.EPOLLOUT, 0
HELD = select.EPOLLET  # a reset is always told, here once

#: A read of this size marks a caller as greedy: its next read waits for a turn in the backlog.
#: It is also the size of a full TLS record, the most that one read gives there.
GREEDY_BYTES = 16384

#: Messages that were the only content of a read, for `answer`.
Inbox = list[tuple["Line", Message]]
#: Messages and the frames of their replies, for `write` and `count`.
Outbox = list[tuple["Line", Message, bytes]]


class Line:
    """One conversation over one socket, and its mouth; it ends once, with an ending or with a bug.

    `unsent` has the rest of a half-written frame; it goes out before the close frame.
    """

    __slots__ = (
        "_backlog", "_conversation", "_epoll", "_heard", "_held", "_queued", "_socket", "_state",
        "_talk", "_wire", "_written_at", "bug", "descriptor", "ending", "finished", "read_at",
        "unsent",
    )  # fmt: skip

    _epoll: select.epoll
    _backlog: "deque[Line]"

    def __init__(self, transport: Transport, talk: Talk) -> None:
        self._talk = talk
        # Objects, not bound methods: stored bound methods made a frame 2 % slower.
        self._conversation, self._wire, self._socket = talk.conversation, talk.wire, transport
        self._state = READING
        self._heard = 0  # sole messages that `_talk` does not know of yet
        self._queued = False
        self._held = False  # the conversation wants nothing read
        self._written_at: float | None = None
        self.descriptor = transport.fileno()
        self.read_at = 0.0
        self.unsent = b""
        self.ending: Ending | None = None
        self.bug: Exception | None = None
        self.finished = trio.Event()

    def start(self, epoll: select.epoll, backlog: "deque[Line]") -> None:
        """Begin: from now on the epoll and the backlog say when the line may do something."""
        self._epoll, self._backlog = epoll, backlog
        epoll.register(self.descriptor, self._state)
        self._conversation.begin(self)

    @property
    def unwritten(self) -> int:
        return len(self.unsent)

    def say(self, message: Message) -> None:
        if not self.finished.is_set():
            self._talk.said = True
            self._write_behind(frame(message))

    def hold(self, held: bool) -> None:
        self._held = held
        if held and self._state != WRITING and not self._queued:
            self._settle(0)
        elif not held and self._state == HELD:
            self._wake_pump()

    def end(self, ending: Ending) -> None:
        if self._talk.ending is None:
            self._talk.ending = ending
            if self._state != WRITING:
                self._settle(0)

    def read(self, buffer: bytearray, inbox: Inbox) -> int:
        """Do what the socket is ready for; return how many bytes came, into the buffer.

        A sole message, the common case, goes into the inbox.
        """
        try:
            if self._state != READING:
                if self._state == WRITING:
                    self._write_on()
                elif self._state == HELD and self._is_reset():
                    self._end(ABORTED)
                return 0
            try:
                size = self._socket.recv_into(buffer)
            except ssl.SSLWantWriteError:
                self._wait_for_room()
                return 0
            except NOT_NOW:
                return 0
            except OSError:
                size = 0
            self.read_at = perf_counter()
            message = self._wire.sole_message(buffer, size)
            if message is None:
                self._take(bytes(buffer[:size]))
            else:
                if size >= GREEDY_BYTES:
                    self._wait_for_turn()
                inbox.append((self, message))
            return size
        except Exception as bug:
            self._fail(bug)
            return 0

    def answer(self, message: Message, outbox: Outbox) -> None:
        """Answer a sole message; its reply goes into the outbox."""
        try:
            self._heard += 1
            reply = self._conversation.receive(message)
            if type(reply) is bytes:
                # `frame` inlined: the call takes 0.6 % of a frame's time.
                outbox.append((self, message, binary_header(len(reply)) + reply))
            elif isinstance(reply, str):
                outbox.append((self, message, frame(reply)))
            elif isinstance(reply, Ending):
                self._end(reply)
            elif reply is not None:
                self._talk.read_at = self.read_at
                self._talk.work_on(message, reply)  # type: ignore[arg-type]  # mypy: bytes above
                self._wait_for_turn()
        except Exception as bug:
            self._fail(bug)

    def write(self, data: bytes) -> bool:
        """Write what the socket takes; keep the rest, and return whether nothing is left."""
        try:
            sent = self._socket.send(data)
        except NOT_NOW:
            sent = 0
        except OSError:
            self._written_at = None
            self._end(ABORTED)
            return False
        if sent == len(data):
            self._written_at = perf_counter()
            return True
        self._written_at = None
        self.unsent = data[sent:]
        self._wait_for_room()
        return False

    def count(self, message: Message) -> None:
        """Count the reply to a sole message, now or once all of it is written."""
        try:
            if self._written_at is not None:
                self._conversation.replied(message, self._written_at - self.read_at)
            else:
                self._talk.read_at = self.read_at
                self._talk.hold_back(message)
        except Exception as bug:
            self._fail(bug)

    def take_turn(self, buffer: bytearray) -> None:
        """Do one visit's work of a line in the backlog."""
        self._queued = False
        if self._state != WAITING or self.finished.is_set():
            return
        if self._held:
            self._settle(0)
            return
        try:
            if self._talk.busy:
                self._send(self._talk.go_on())
                self._settle(0)
                return
            try:
                size = self._socket.recv_into(buffer)
            except ssl.SSLWantWriteError:
                self._wait_for_room()
                return
            except NOT_NOW:
                self._settle(0)
                return
            except OSError:
                size = 0
            self.read_at = perf_counter()
            self._take(bytes(buffer[:size]))
        except Exception as bug:
            self._fail(bug)

    def look_at_deadlines(self, now: float) -> None:
        """End the conversation if it is stuck, idle or dead; ping if it is silent."""
        if self.finished.is_set():
            return
        talk = self._talk
        talk.heard += self._heard
        self._heard = 0
        if self._held:
            talk.rest(now)
        ping = talk.due(now)
        if ping:
            self._send(ping)
        if talk.ending is not None and (not self.unsent or talk.ending is STUCK):
            self._end(talk.ending)

    def leave(self) -> None:
        """Leave epoll and backlog for good."""
        self._end(ABORTED)

    def _take(self, data: bytes) -> None:
        self._send(self._talk.take(data, self.read_at))
        self._settle(len(data))

    def _settle(self, size: int) -> None:
        """Choose the next state, after a read of that size."""
        if self.unsent:
            return
        talk = self._talk
        if talk.ending is not None:
            self._end(talk.ending)
        elif self._held:
            self._watch(HELD)
        elif talk.busy or size >= GREEDY_BYTES:
            self._wait_for_turn()
        else:
            self._watch(READING)

    def _write_on(self) -> None:
        if self.write(self.unsent):
            self.unsent = b""
            self._talk.written(perf_counter())
            self._settle(0)

    def _send(self, data: bytes) -> None:
        """Write and count, or keep what is left and wait for room."""
        if not data or self._write_behind(data):
            self._talk.written(perf_counter())

    def _write_behind(self, data: bytes) -> bool:
        """Write behind what waits for room already; return whether nothing is left."""
        if self._state != WRITING:
            return self.write(data)
        self.unsent += data
        return False

    def _wait_for_room(self) -> None:
        if self._state != WRITING:
            self._talk.stalled(trio.current_time())
            self._watch(WRITING)

    def _wait_for_turn(self) -> None:
        self._watch(WAITING)
        if not self._queued:
            self._queued = True
            self._backlog.append(self)

    def _is_reset(self) -> bool:
        poll = select.poll()  # for this rare question; the epoll's event may be an older one
        poll.register(self.descriptor, 0)
        return bool(poll.poll(0))

    def _wake_pump(self) -> None:
        """Have the pump choose the next state, from outside of its turns: it may be asleep."""
        self._wait_for_room()  # there is some, so the epoll names the line at once

    def _watch(self, state: int) -> None:
        if state != self._state and not self.finished.is_set():
            self._epoll.modify(self.descriptor, state)
            self._state = state

    def _fail(self, bug: Exception) -> None:
        self.bug = bug
        self._end(ABORTED)

    def _end(self, ending: Ending) -> None:
        if not self.finished.is_set():
            self.ending = ending
            self._epoll.unregister(self.descriptor)
            self.finished.set()
