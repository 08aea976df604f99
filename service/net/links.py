"""What carries conversations: the pump, a Trio stream without it, and an ASGI server's events."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

import trio

from service.conversation import CLOSE_SECONDS, Conversation, Limits, Link, Message, Work
from service.ending import (
    ABNORMAL_CLOSURE,
    ABORTED,
    NO_STATUS_RECEIVED,
    STUCK,
    Ending,
    completed,
    idle,
)
from service.net.line import Line, TlsLine
from service.net.pump import Pump
from service.net.stream import READ_BYTES, Stream
from service.net.talk import Talk
from service.net.tls import Tls

#: How many frames of an ended call are looked at on one wake-up; a crowd may send on and on.
_FAREWELL_FRAMES = 4

AsgiReceive = Callable[[], Awaitable[Any]]
AsgiSend = Callable[[Any], Awaitable[None]]


class StreamLink(Link):
    """A link over a connection on which the upgrade was just answered; its task does the I/O."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._talk: Talk | None = None
        self._unsent = b""  # the rest of a half-written frame; goes out before the close frame

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        talk = self._talk = Talk(conversation, limits, trio.current_time())
        self._unsent = talk.begin()
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
                talk.written(perf_counter())
                if talk.ending is not None:
                    return talk.ending
                if talk.busy:
                    await trio.lowlevel.checkpoint()
                    self._unsent = talk.go_on()
                    continue
                with trio.move_on_at(talk.next_due()):
                    data = await self._stream.receive_some(READ_BYTES)
                    self._unsent = talk.take(data, perf_counter())
            except trio.BrokenResourceError:
                return ABORTED
            self._unsent += talk.due(trio.current_time())

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
            self._unsent = self._unsent[await self._stream.send_some(self._unsent) :]

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


class MessageLink(Link):
    """A link to somebody who speaks in messages, not in bytes.

    `receive` gives a message, or the ending once there will be none. `send` raises
    trio.BrokenResourceError when the peer is gone. Both may be cancelled.
    """

    @abstractmethod
    async def receive(self) -> Message | Ending:
        """Return the next message, or how the connection ended."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """Send one message."""

    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        if conversation.greeting is not None:
            ending = await self._sent(conversation.greeting, limits)
            if ending is not None:
                return ending
        while True:
            with trio.move_on_after(limits.idle_seconds) as silence:
                message = await self.receive()
            if silence.cancelled_caught:
                return idle(limits.idle_seconds)
            if isinstance(message, Ending):
                return message
            began = perf_counter()
            reply = conversation.receive(message)
            if not isinstance(reply, bytes | str | Ending):
                reply = await _finished(reply)
            if isinstance(reply, Ending):
                return reply
            ending = await self._sent(reply, limits)
            if ending is not None:
                return ending
            conversation.replied(message, perf_counter() - began)

    async def _sent(self, message: Message, limits: Limits) -> Ending | None:
        with trio.move_on_after(limits.send_seconds):
            try:
                await self.send(message)
            except trio.BrokenResourceError:
                return ABORTED
            return None
        return STUCK


async def _finished(work: Work) -> Message:
    """Do long work piece by piece, and let other tasks run in between."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            message: Message = done.value
            return message
        await trio.lowlevel.checkpoint()


class AsgiLink(MessageLink):
    """A link over an accepted ASGI WebSocket, for any ASGI server and Quart's test client."""

    def __init__(self, receive: AsgiReceive, send: AsgiSend) -> None:
        self._receive, self._send = receive, send

    async def receive(self) -> Message | Ending:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                code = event.get("code", NO_STATUS_RECEIVED)
                return ABORTED if code == ABNORMAL_CLOSURE else completed(code)
            if event["type"] == "websocket.receive":
                data: bytes | None = event.get("bytes")
                # Servers give the other key as None or not at all; b"" is a message too.
                return event["text"] if data is None else data

    async def send(self, message: Message) -> None:
        key = "text" if isinstance(message, str) else "bytes"
        try:
            await self._send({"type": "websocket.send", key: message})
        except OSError as error:  # ASGI 2.4 servers raise it when the peer is gone
            raise trio.BrokenResourceError from error

    async def close(self, ending: Ending) -> None:
        if ending.code is None:
            return
        event = {"type": "websocket.close", "code": ending.code, "reason": ending.reason}
        with trio.move_on_after(CLOSE_SECONDS), suppress(OSError):
            await self._send(event)
