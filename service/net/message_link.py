"""What carries conversations over messages instead of bytes: an ASGI server's events."""

from abc import abstractmethod
from collections import deque
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

AsgiReceive = Callable[[], Awaitable[Any]]
AsgiSend = Callable[[Any], Awaitable[None]]


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

    def __init__(self) -> None:
        self._said: deque[Message] = deque()
        self._ending: Ending | None = None
        self._spoken = trio.Event()  # one of the two has changed
        self._free = trio.Event()  # the conversation wants to hear
        self._free.set()
        self._active_at = 0.0  # when a message last came or was said
        self._sending = trio.Lock()

    @property
    def unwritten(self) -> int:
        return sum(map(len, self._said))

    def say(self, message: Message) -> None:
        self._said.append(message)
        self._active_at = trio.current_time()
        self._spoken.set()

    def hold(self, held: bool) -> None:
        if held:
            self._free = trio.Event()
        else:
            self._free.set()

    def end(self, ending: Ending) -> None:
        self._ending = self._ending or ending
        self._spoken.set()

    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        self._active_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak, limits, nursery.cancel_scope)
            conversation.begin(self)
            ending = await self._listen(conversation, limits)
            self._ending = self._ending or ending
            nursery.cancel_scope.cancel()
        assert self._ending is not None, "only an ending cancels the nursery"
        return self._ending

    async def _speak(self, limits: Limits, carrying: trio.CancelScope) -> None:
        """Send what is said unasked, until the conversation ends itself."""
        while self._said or self._ending is None:
            if not self._said:
                await self._spoken.wait()
                self._spoken = trio.Event()
                continue
            failure = await self._sent(self._said[0], limits)
            self._said.popleft()
            if failure is not None:
                self._ending = failure
                break
        carrying.cancel()

    async def _listen(self, conversation: Conversation, limits: Limits) -> Ending:
        while True:
            if not self._free.is_set():
                await self._free.wait()
                self._active_at = trio.current_time()  # a peer that is not read is not idle
            with trio.move_on_at(self._active_at + limits.idle_seconds) as silence:
                message = await self.receive()
                self._active_at = trio.current_time()
            if silence.cancelled_caught:
                if trio.current_time() < self._active_at + limits.idle_seconds:
                    continue
                return idle(limits.idle_seconds)
            if isinstance(message, Ending):
                return message
            began = perf_counter()
            reply = conversation.receive(message)
            if reply is not None and not isinstance(reply, bytes | str | Ending):
                reply = await _finished(reply)
            if isinstance(reply, Ending):
                return reply
            if reply is None:
                continue
            failure = await self._sent(reply, limits)
            if failure is not None:
                return failure
            conversation.replied(message, perf_counter() - began)

    async def _sent(self, message: Message, limits: Limits) -> Ending | None:
        """Send a message; return how the conversation ends if that fails."""
        with trio.move_on_after(limits.send_seconds):
            try:
                async with self._sending:
                    await self.send(message)
            except trio.BrokenResourceError:
                return ABORTED
            return None
        return STUCK


async def _finished(work: Work) -> Message | None:
    """Do long work piece by piece, and let other tasks run in between."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            message: Message | None = done.value
            return message
        await trio.lowlevel.checkpoint()


class AsgiLink(MessageLink):
    """A link over an accepted ASGI WebSocket, for any ASGI server and Quart's test client."""

    def __init__(self, receive: AsgiReceive, send: AsgiSend) -> None:
        super().__init__()
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
