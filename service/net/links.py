"""What carries conversations: the pump, and a Trio stream without it.

Each link is the mouth of its conversation; the pump's lines are that for a PumpedLink.
"""

from contextlib import suppress
from time import perf_counter

import trio

from service.conversation import CLOSE_SECONDS, Conversation, Limits, Link, Message
from service.ending import (
    ABORTED,
    STUCK,
    Ending,
)
from service.net.line import Line
from service.net.pump import Pump
from service.net.stream import READ_BYTES, Stream
from service.net.talk import Talk
from service.net.tls import Tls
from service.net.tls_line import TlsLine
from service.websocket.wire import frame

#: How many frames of an ended call are looked at on one wake-up; a crowd may send on and on.
_FAREWELL_FRAMES = 4


class StreamLink(Link):
    """A link over a connection on which the upgrade was just answered; its task does the I/O."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._talk: Talk | None = None
        self._unsent = b""  # the rest of a half-written frame; goes out before the close frame
        self._held = False  # the conversation wants nothing read
        self._waiting: trio.CancelScope | None = None

    @property
    def unwritten(self) -> int:
        return len(self._unsent)

    def say(self, message: Message) -> None:
        assert self._talk is not None
        self._talk.said = True
        self._unsent += frame(message)
        self._stop_waiting()

    def hold(self, held: bool) -> None:
        self._held = held
        self._stop_waiting()

    def end(self, ending: Ending) -> None:
        assert self._talk is not None
        self._talk.ending = self._talk.ending or ending
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        talk = self._talk = Talk(conversation, limits, trio.current_time())
        conversation.begin(self)
        while True:
            try:
                self._unsent = self._unsent[self._stream.send_now(self._unsent) :]
                if self._unsent:
                    talk.stalled(trio.current_time())
                    with trio.move_on_after(limits.send_seconds) as patience:
                        await self._flush()
                    if patience.cancelled_caught:
                        return STUCK
                    talk.due(trio.current_time())
                if not self._unsent:
                    talk.written(perf_counter())
                    if talk.ending is not None:
                        return talk.ending
                    await self._go_on(talk)
            except trio.BrokenResourceError:
                return ABORTED
            if self._held:
                talk.rest(trio.current_time())
            self._unsent += talk.due(trio.current_time())

    async def _go_on(self, talk: Talk) -> None:
        """Do one visit's work, or wait for the peer, a deadline, or what the conversation says."""
        if talk.busy and not self._held:
            await trio.lowlevel.checkpoint()
            self._unsent += talk.go_on()
            return
        with trio.move_on_at(talk.next_due()) as self._waiting:
            if self._held:
                await trio.sleep_forever()
            data = await self._stream.receive_some(READ_BYTES)
            self._unsent += talk.take(data, perf_counter())
        self._waiting = None

    async def close(self, ending: Ending) -> None:
        try:
            if ending.told:
                with trio.move_on_after(CLOSE_SECONDS), suppress(trio.BrokenResourceError):
                    await self._say_goodbye(ending)
            await self._stream.aclose()
        finally:
            if self._talk is not None:
                self._talk.wire.discard()

    async def _flush(self) -> None:
        """Write the unsent bytes; a cancellation loses none.

        The first try does not wait, so a close frame goes out even if its time is over already.
        """
        self._unsent = self._unsent[self._stream.send_now(self._unsent) :]
        while self._unsent:
            sent = await self._stream.send_some(self._unsent)
            self._unsent = self._unsent[sent:]  # more may have been said meanwhile

    async def _say_goodbye(self, ending: Ending) -> None:
        assert self._talk is not None, "a link is closed after it has carried"
        wire = self._talk.wire
        self._unsent += self._talk.farewell(ending)
        await self._flush()
        if ending.outcome == "rejected":
            # After a protocol error the server ends the connection first (RFC 6455, 7.1.7).
            self._stream.half_close()
        # Bytes that are unread when the socket closes become a reset, and a reset can overtake
        # the close frame. So read on until the peer has answered it.
        while wire.peer_code is None:
            if wire.more:
                wire.messages(_FAREWELL_FRAMES)
                await trio.lowlevel.checkpoint()
                continue
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                return
            wire.feed(data)


class PumpedLink(StreamLink):
    """A link over a connection that the pump serves."""

    def __init__(self, pump: Pump, stream: Stream) -> None:
        super().__init__(stream)
        self._pump = pump
        self._line: Line | None = None

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent if self._line is None else self._line.unsent)

    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        self._talk = Talk(conversation, limits, trio.current_time())
        transport = self._stream.transport
        line = self._line = (
            TlsLine(transport, self._talk)
            if isinstance(transport, Tls)
            else Line(transport, self._talk)
        )
        try:
            await self._pump.carry(line)
        finally:
            self._unsent, self._line = line.unsent, None
        if line.bug is not None:
            raise line.bug
        assert line.ending is not None
        return line.ending
