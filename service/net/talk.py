"""The rule book of a conversation on a wire, without I/O and without a clock of its own.

StreamLink and the pump obey it. (An ASGI link carries messages, not bytes.) The rules:

- Replies go out in the order of their messages. Pongs go ahead of replies, the answer to a close
  behind them.
- Nothing is read while bytes wait to be written, or while messages wait to be answered.
- One visit, `take` or `go_on`, costs little whatever the peer sent: it looks at FRAMES_AT_ONCE
  frames, answers until GATHER_BYTES are gathered, and does one piece of long work. `busy` says
  that another visit is due; other conversations have their turn in between.
- The ending comes once everything before it is answered. The carrier writes what is owed, then
  the `farewell`.
"""

from collections import deque

from service.conversation import Conversation, Limits, Message, Work
from service.ending import ABORTED, STUCK, Ending, idle
from service.websocket.wire import PING, Wire, frame

#: How many frames one visit may look at: 32 pings take 0.3 ms.
FRAMES_AT_ONCE = 32
#: How many bytes of replies one visit gathers before they are written.
GATHER_BYTES = 16384


class Talk:
    """One conversation: bytes in, bytes out, and the ending once it is over.

    The carrier writes all bytes that a method returns, in order, and then calls `written`. If some
    bytes cannot be written, it calls `stalled` once. Until all are written it calls only `due`.
    `read_at` and `at` are seconds of a clock that measures; `now` is seconds of the clock that
    deadlines use.
    """

    __slots__ = (
        "_answered", "_idle_since", "_limits", "_messages", "_owed", "_pinged", "_silent_since",
        "_stalled_since", "_subject", "_work", "conversation", "ending", "heard", "other_reads",
        "read_at", "said", "wire",
    )  # fmt: skip

    def __init__(self, conversation: Conversation, limits: Limits, now: float) -> None:
        self.conversation = conversation
        self.wire = Wire(limits.message_bytes, hangup_causes=limits.hangup_causes)
        self.ending: Ending | None = None
        self.read_at = 0.0
        self.heard = self.other_reads = 0  # messages, and calls of `take`, since the last `due`
        self.said = False  # whether the conversation spoke unasked since then
        self._limits = limits
        self._messages: deque[Message] = deque()  # read, not answered yet
        self._work: Work | None = None  # the unfinished long reply,
        self._subject: Message = b""  # and the message that it answers
        self._owed = b""  # what this visit has to write
        self._answered: list[Message] = []  # answered, their replies not written yet
        self._idle_since = self._silent_since = now
        self._stalled_since: float | None = None
        self._pinged = False

    @property
    def busy(self) -> bool:
        """Whether `go_on` has something to do."""
        return self.ending is None and bool(
            self._messages or self._work is not None or self.wire.more
        )

    def take(self, data: bytes, read_at: float) -> bytes:
        """Take the bytes of one read, none at the end of the stream; return bytes to write."""
        self.read_at = read_at
        if not data:
            self.ending = ABORTED
            return b""
        self.other_reads += 1
        self.wire.feed(data)
        return self.go_on()

    def work_on(self, message: Message, work: Work) -> None:
        """Take the long reply to a message that the carrier itself gave to the conversation."""
        self._subject, self._work = message, work

    def go_on(self) -> bytes:
        """Answer the next messages, or do a piece of a long reply; return bytes to write."""
        wire = self.wire
        if wire.more and not self._messages and self._work is None:
            self._messages.extend(wire.messages(FRAMES_AT_ONCE))
            self.heard += len(self._messages)
        self._owed = wire.take_replies() if wire.ending is None else b""
        self._answer()
        owed, self._owed = self._owed, b""
        if wire.ending is not None and not self._messages and self._work is None:
            self.ending = self.ending or wire.ending
        return owed

    def _answer(self) -> None:
        """Answer the next messages, or do a piece of a long reply."""
        while (self._messages or self._work is not None) and len(self._owed) < GATHER_BYTES:
            if self._work is None:
                message = self._messages.popleft()
                reply = self.conversation.receive(message)
                if isinstance(reply, Ending):
                    self.ending = reply
                    return
                if reply is not None and not isinstance(reply, bytes | str):
                    self.work_on(message, reply)
                    return
            else:
                try:
                    next(self._work)
                    return
                except StopIteration as done:
                    message, reply = self._subject, done.value
                    self._subject, self._work = b"", None
            if reply is not None:
                self._owed += frame(reply)
                self._answered.append(message)

    def written(self, at: float) -> None:
        """Count all replies so far: every byte is written."""
        self._stalled_since = None
        if self._answered:
            seconds = at - self.read_at
            for message in self._answered:
                self.conversation.replied(message, seconds)
            self._answered.clear()

    def hold_back(self, message: Message) -> None:
        """Remember a message whose reply the carrier framed itself; `written` counts it."""
        self._answered.append(message)

    def stalled(self, now: float) -> None:
        """Start the send deadline: bytes wait to be written."""
        self._stalled_since = now

    def rest(self, now: float) -> None:
        """Take note that the conversation itself wants nothing read now; nobody is silent then."""
        self._idle_since = self._silent_since = now

    def due(self, now: float) -> bytes:
        """End the conversation if it is stuck, idle or dead; return a ping if it is silent."""
        limits = self._limits
        if self._stalled_since is not None:
            # Nothing is read meanwhile, so nobody can tell whether the peer is silent.
            self._idle_since = self._silent_since = now
            if now - self._stalled_since >= limits.send_seconds:
                self.ending = STUCK
            return b""
        if self.ending is not None:
            return b""
        if self.said:
            self.said, self._idle_since = False, now
        if self.heard:
            self.heard, self._idle_since = 0, now
            self.other_reads += 1
        elif now - self._idle_since >= limits.idle_seconds and not self.busy:
            self.ending = idle(limits.idle_seconds)
            return b""
        if self.other_reads:
            self.other_reads, self._silent_since, self._pinged = 0, now, False
        elif limits.ping_seconds and not self.busy:
            silent = now - self._silent_since
            if silent >= limits.ping_seconds + limits.pong_seconds:
                self.ending = ABORTED
            elif silent >= limits.ping_seconds and not self._pinged:
                self._pinged = True
                return PING if limits.pings else b""
        return b""

    def next_due(self) -> float:
        """Return when `due` has something to do, if nothing is read until then."""
        limits = self._limits
        when = self._idle_since + limits.idle_seconds
        if limits.ping_seconds:
            patience = limits.ping_seconds + (limits.pong_seconds if self._pinged else 0)
            when = min(when, self._silent_since + patience)
        return when

    def farewell(self, ending: Ending) -> bytes:
        """Return the last bytes for the peer: pongs, the answer to its close, or our close.

        Ahead of them go the replies of a visit that a bug of the conversation has ended.
        """
        last = self._owed + self.wire.take_replies()
        if ending.code is not None:
            last += self.wire.close(ending.code, ending.reason)
        return last
