"""How messages move: over ASGI, over a Trio stream, and over memory for tests."""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import trio

from service.conversation import CLOSE_SECONDS, Link, Message
from service.ending import (
    ABNORMAL_CLOSURE,
    ABORTED,
    NO_STATUS_RECEIVED,
    STUCK,
    Ending,
    completed,
)
from service.websocket.wire import PING, Wire, frame

AsgiReceive = Callable[[], Awaitable[Any]]
AsgiSend = Callable[[Any], Awaitable[None]]

#: How much is read at once, in bytes: 200 frames of 20 ms, and what one connection's turn may cost.
READ_BYTES = 65536


class Takeable(Protocol):
    """A connection that the upgrade's handler can take over, found in the ASGI scope's state."""

    def link(self) -> "Link | None":
        """Return the link that owns the connection, after the upgrade; None if it had none."""


class AsgiLink(Link):
    """A link over an accepted ASGI WebSocket, for any ASGI server and Quart's test client."""

    def __init__(self, receive: AsgiReceive, send: AsgiSend, send_seconds: float) -> None:
        self._receive, self._send = receive, send
        self._send_seconds = send_seconds

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
        with trio.fail_after(self._send_seconds):
            try:
                await self._send({"type": "websocket.send", key: message})
            except OSError as error:  # what ASGI 2.4 servers raise when the peer is gone
                raise trio.BrokenResourceError from error

    async def close(self, ending: Ending) -> None:
        if ending.code is None:
            return
        event = {"type": "websocket.close", "code": ending.code, "reason": ending.reason}
        with trio.move_on_after(CLOSE_SECONDS):
            with suppress(OSError):
                await self._send(event)


class StreamLink(Link):
    """A link over a Trio stream, TCP or TLS, on which the upgrade was just answered.

    Pings after `ping_seconds` of silence, and takes a peer that stays silent for `pong_seconds`
    more for gone; 0 for `ping_seconds` is never.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        max_bytes: int,
        send_seconds: float,
        ping_seconds: float,
        pong_seconds: float,
    ) -> None:
        self.stream = stream
        self.wire = Wire(max_bytes)
        self.send_seconds = send_seconds
        self.ping_seconds, self.pong_seconds = ping_seconds, pong_seconds
        self.unsent = b""  # what a carrier could not write, and must stand before a close frame
        self._messages: deque[Message] | tuple[()] = ()

    async def receive(self) -> Message | Ending:
        while True:
            if self._messages:
                return self._messages.popleft()
            if self.wire.ending is not None:
                # Its close frame waits until the messages before it have had their replies.
                return self.wire.ending
            try:
                data = await self._read()
                if not data:
                    return ABORTED
                self._messages = deque(self.wire.feed(bytes(data)))
                if self.wire.ending is None:
                    await self._write(self.wire.take_replies())
            except trio.BrokenResourceError:
                return ABORTED
            except trio.TooSlowError:
                return STUCK

    async def send(self, message: Message) -> None:
        await self._write(frame(message))

    async def _read(self) -> bytes | bytearray:
        if not self.ping_seconds:
            return await self.stream.receive_some(READ_BYTES)
        with trio.move_on_after(self.ping_seconds):
            return await self.stream.receive_some(READ_BYTES)
        await self._write(PING)
        with trio.move_on_after(self.pong_seconds):
            return await self.stream.receive_some(READ_BYTES)
        return b""

    async def _write(self, data: bytes) -> None:
        if data:
            with trio.fail_after(self.send_seconds):
                await self.stream.send_all(data)

    async def close(self, ending: Ending) -> None:
        try:
            if ending not in (ABORTED, STUCK):
                with trio.move_on_after(CLOSE_SECONDS), suppress(trio.BrokenResourceError):
                    await self._say_goodbye(ending)
            await self.stream.aclose()
        finally:
            self.wire.discard()

    async def _say_goodbye(self, ending: Ending) -> None:
        farewell = self.unsent + self.wire.take_replies()
        if ending.code is not None:
            farewell += self.wire.close(ending.code, ending.reason)
        await self.stream.send_all(farewell)
        if ending.outcome == "rejected" and isinstance(self.stream, trio.SocketStream):
            # After a protocol error the server ends the connection first (RFC 6455, 7.1.7).
            await self.stream.send_eof()
        # Unread bytes at the moment of closing would become a reset, and a reset can overtake
        # the close frame; so read on until the peer has had it.
        while self.wire.peer_code is None:
            data = await self.stream.receive_some(READ_BYTES)
            if not data:
                return
            self.wire.feed(bytes(data))


class MemoryLink(Link):
    """A link over memory, with its other end in `peer`; a message is taken only when it is read."""

    def __init__(self, send_seconds: float = 10) -> None:
        self._send_seconds = send_seconds
        self._to_peer, self.from_service = trio.open_memory_channel[Message | Ending](0)
        self.to_service, self._from_peer = trio.open_memory_channel[Message](0)
        self.leave_code: int | None = None

    async def receive(self) -> Message | Ending:
        try:
            return await self._from_peer.receive()
        except trio.EndOfChannel:
            return ABORTED if self.leave_code is None else completed(self.leave_code)

    async def send(self, message: Message) -> None:
        with trio.fail_after(self._send_seconds):
            await self._to_peer.send(message)

    async def close(self, ending: Ending) -> None:
        with trio.move_on_after(CLOSE_SECONDS), self._to_peer:
            if ending.code is not None:
                with suppress(trio.BrokenResourceError):
                    await self._to_peer.send(ending)
