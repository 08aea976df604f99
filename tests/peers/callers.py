"""The client's end of a call: over memory, ASGI events or any stream, all with the same methods."""

import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import Any

import trio
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from service.conversation import CLOSE_SECONDS, Message
from service.ending import ABORTED, Ending, completed
from service.net.message_link import MessageLink


class HungUp(Exception):
    """The service ended the call; `code` is None where it sent no close frame."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Caller(ABC):
    """A client: `receive` raises HungUp when the service ends the call."""

    @abstractmethod
    async def send(self, message: Message) -> None: ...

    @abstractmethod
    async def receive(self) -> Message: ...

    @abstractmethod
    async def leave(self, code: int = 1000) -> None:
        """Close as RFC 6455 says."""

    @abstractmethod
    async def vanish(self) -> None:
        """Be gone without a close frame."""

    async def ask(self, message: Message) -> Message:
        await self.send(message)
        return await self.receive()

    async def hung_up(self) -> tuple[int | None, str]:
        """Return the code and the reason with which the service ends the call."""
        try:
            unexpected = await self.receive()
        except HungUp as end:
            return end.code, end.reason
        raise AssertionError(f"a message instead of an end: {unexpected!r:.60}")


class MemoryLink(MessageLink):
    """A link over memory channels; a message is taken only when it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._to_peer, self.from_service = trio.open_memory_channel[Message | Ending](0)
        self.to_service, self._from_peer = trio.open_memory_channel[Message](0)
        self.leave_code: int | None = None

    async def receive(self) -> Message | Ending:
        try:
            return await self._from_peer.receive()
        except trio.EndOfChannel:
            return ABORTED if self.leave_code is None else completed(self.leave_code)

    async def send(self, message: Message) -> None:
        await self._to_peer.send(message)

    async def close(self, ending: Ending) -> None:
        with trio.move_on_after(CLOSE_SECONDS), self._to_peer:
            if ending.code is not None:
                with suppress(trio.BrokenResourceError):
                    await self._to_peer.send(ending)


class MemoryCaller(Caller):
    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    async def send(self, message: Message) -> None:
        await self._link.to_service.send(message)

    async def receive(self) -> Message:
        try:
            message = await self._link.from_service.receive()
        except trio.EndOfChannel:
            raise HungUp(None, "") from None
        if isinstance(message, Ending):
            raise HungUp(message.code, message.reason)
        return message

    async def leave(self, code: int = 1000) -> None:
        self._link.leave_code = code
        self._link.to_service.close()

    async def vanish(self) -> None:
        self._link.to_service.close()
        self._link.from_service.close()


class AsgiCaller(Caller):
    def __init__(self) -> None:
        # One place, because Quart leaves it to the first receive to fetch the connect event.
        self._to_app, self.app_receive = trio.open_memory_channel[dict[str, Any]](1)
        self.app_send, self._from_app = trio.open_memory_channel[dict[str, Any]](0)

    async def event(self) -> dict[str, Any]:
        try:
            return await self._from_app.receive()
        except trio.EndOfChannel:
            return {"type": "end"}

    async def connect(self) -> dict[str, Any]:
        await self.put({"type": "websocket.connect"})
        return await self.event()

    async def put(self, event: dict[str, Any]) -> None:
        """Have the app receive an event."""
        await self._to_app.send(event)

    async def send(self, message: Message) -> None:
        key = "text" if isinstance(message, str) else "bytes"
        await self.put({"type": "websocket.receive", key: message})

    async def receive(self) -> Message:
        event = await self.event()
        if event["type"] == "websocket.send":
            message: Message = event.get("text") or event["bytes"]
            return message
        raise HungUp(event.get("code"), event.get("reason", ""))

    async def leave(self, code: int = 1000) -> None:
        with suppress(trio.BrokenResourceError):
            await self.put({"type": "websocket.disconnect", "code": code})

    async def vanish(self) -> None:
        await self.leave(1006)


class StreamCaller(Caller):
    """A client over any stream; `frames` has every frame that came, control frames too."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.frames: list[Opcode] = []
        self._messages: deque[Message] = deque()
        self.protocol = ClientProtocol(parse_uri("ws://service/"), state=OPEN, max_size=None)

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(b"".join(self.protocol.data_to_send()))

    async def receive(self) -> Message:
        while not self._messages:
            close = self.protocol.close_rcvd
            if close is not None:
                await self.vanish()
                raise HungUp(int(close.code), close.reason)
            try:
                data = await self.stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise HungUp(None, "")
            self.protocol.receive_data(bytes(data))
            for event in self.protocol.events_received():
                self.frames.append(event.opcode)  # type: ignore[union-attr]
                if event.opcode in (Opcode.TEXT, Opcode.BINARY):  # type: ignore[union-attr]
                    data = bytes(event.data)  # type: ignore[union-attr]
                    text = event.opcode is Opcode.TEXT  # type: ignore[union-attr]
                    self._messages.append(data.decode() if text else data)
            if self.protocol.close_rcvd is not None or self.protocol.writes:
                with suppress(trio.BrokenResourceError):
                    await self.flush()
        return self._messages.popleft()

    async def leave(self, code: int = 1000) -> None:
        self.protocol.send_close(code)
        await self.flush()
        with suppress(HungUp):
            while True:
                await self.receive()

    async def vanish(self) -> None:
        await trio.aclose_forcefully(self.stream)

    async def reset(self) -> None:
        """Vanish with a reset instead of a FIN."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.vanish()


async def tcp_pair() -> tuple[socket.socket, trio.SocketStream]:
    """Return the two ends of a TCP connection on loopback, the server's as a bare socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = await trio.open_tcp_stream(*listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    return server, client
