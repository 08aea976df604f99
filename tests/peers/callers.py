"""The other end of a call, the same over every link, so that one suite can run over all of them.

memory   a MemoryLink, which stands here
asgi     the app, by ASGI events, as under any server
stream   a StreamLink over TCP on loopback
pump     a PumpedLink over TCP on loopback
server   the whole server over TCP
tls      the whole server over TLS
"""

import os
import signal
import socket
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import trio
import trio.testing
import trustme
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from service import codec
from service.calls.call import Call
from service.calls.roster import Place, Roster
from service.calls.terms import Terms
from service.config import Settings
from service.conversation import CLOSE_SECONDS, Link, Message
from service.ending import ABORTED, Ending, completed
from service.net.links import MessageLink, PumpedLink, StreamLink
from service.net.pump import Pump
from service.net.stream import Stream
from service.server import serve
from service.tally import Tally
from service.web.access import Access
from service.web.app import create_app, limits_of
from service.web.metrics import Metrics

KINDS = ("memory", "asgi", "stream", "pump", "server", "tls")


class HungUp(Exception):
    """The service ended the call; `code` is None where it sent no close frame."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def admitted(roster: Roster) -> Place:
    """Return a place that the roster has for a call."""
    place = roster.admit()
    assert isinstance(place, Place), place
    return place


class House:
    """The state that a service's parts share, and the app over it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(host="127.0.0.1", port=0, **settings)
        self.roster = Roster(self.settings.max_sessions)
        self.tally = Tally(codec.available(), codec.LAWS)
        self.metrics = Metrics(self.roster, self.tally, dict.fromkeys(codec.ORDER, True))
        access = Access.load(self.settings.allowed_origins, self.settings.tokens_file)
        self.app = create_app(self.settings, self.roster, self.tally, access, self.metrics)

    @property
    def outcomes(self) -> dict[str, int]:
        """The outcomes that were counted, without the zeros."""
        return {name: count for name, count in self.tally.sessions.items() if count}

    def place(self) -> Place:
        """Return a place on the line, as a call has."""
        return admitted(self.roster)

    async def metric(self, series: str) -> float:
        """Return the value of one series on /metrics."""
        response = await self.app.test_client().get("/metrics")
        return _value(await response.get_data(as_text=True), series)


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


@asynccontextmanager
async def calling(kind: str, query: str = "", **settings: Any) -> AsyncIterator[tuple[Caller, Any]]:
    """Have a call over this kind of link; its service runs until the block ends."""
    house = House(**settings)
    async with trio.open_nursery() as nursery:
        if kind in ("server", "tls"):
            async with serving(tls=kind == "tls", **settings) as service:
                yield await service.call(query), service
        elif kind == "asgi":
            caller = AsgiCaller()
            nursery.start_soon(run_asgi, house, caller, query)
            accepted = await caller.connect()
            assert accepted["type"] == "websocket.accept", accepted
            yield caller, house
            await caller.vanish()
        else:
            link, other_end = await _link(kind, nursery)
            nursery.start_soon(run_call, house, link, query)
            yield other_end, house
            await other_end.vanish()
        # Whoever is still on the line has just been left, and need not be told.
        with trio.move_on_after(1):
            while house.roster.active:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def run_call(house: House, link: Link, query: str = "") -> None:
    """Hold a call as the app's handler does."""
    settings = house.settings
    terms = Terms.parse(dict(parse_qsl(query)), settings.codec_order)
    limits = limits_of(settings)
    with house.place() as scope:
        await Call(terms, "test", house.tally, limits).run(link, scope)


async def run_asgi(
    house: House,
    caller: AsgiCaller,
    query: str = "",
    path: str = "/ws/audio",
    **more: Any,
) -> None:
    """Have the app serve one WebSocket by ASGI events; `more` goes into its scope."""
    scope = {
        "type": "websocket", "asgi": {"spec_version": "2.3", "version": "3.0"}, "scheme": "ws",
        "http_version": "1.1", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "subprotocols": [],
        "extensions": {"websocket.http.response": {}}, "state": {}, **more,
    }  # fmt: skip
    async with caller.app_send, caller.app_receive:
        await house.app(scope, caller.app_receive.receive, caller.app_send.send)  # type: ignore[arg-type]


async def _link(kind: str, nursery: trio.Nursery) -> tuple[Link, Caller]:
    if kind == "memory":
        memory = MemoryLink()
        return memory, MemoryCaller(memory)
    accepted, connected = await tcp_pair()
    if kind == "stream":
        return StreamLink(Stream(accepted)), StreamCaller(connected)
    pump = Pump()
    nursery.start_soon(pump.run)
    return PumpedLink(pump, Stream(accepted)), StreamCaller(connected)


async def tcp_pair() -> tuple[socket.socket, trio.SocketStream]:
    """Return the two ends of a TCP connection on loopback, the server's as a bare socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = await trio.open_tcp_stream(*listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    return server, client


class Service:
    """A running server, by its port."""

    def __init__(self, port: int, context: ssl.SSLContext | None, stop: Callable[[], None]) -> None:
        self.port, self._context, self.stop = port, context, stop
        self._streams: list[trio.abc.Stream] = []
        self.in_full: bool | None = None
        self.stopped = trio.Event()

    async def connect(self) -> trio.abc.Stream:
        """Return a new connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams.append(stream)
        if self._context is None:
            return stream
        return trio.SSLStream(stream, self._context, server_hostname="localhost",
                              https_compatible=True)  # fmt: skip

    async def hang_up(self) -> None:
        """Close every connection that was made."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def upgraded(self, query: str = "", path: str = "/ws/audio") -> trio.abc.Stream:
        """Return a new connection on which the service has answered 101."""
        stream = await self.connect()
        await stream.send_all(upgrade_request(f"{path}?{query}"))
        # The service speaks first only with `events`; then the head ends where its message begins.
        head = await read_head(stream, at_once=1 if "events=" in query else 4096)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return stream

    async def call(self, query: str = "", path: str = "/ws/audio") -> StreamCaller:
        """Return the caller of a new call."""
        return StreamCaller(await self.upgraded(query, path))

    async def get(self, target: str, extra: str = "") -> tuple[int, str]:
        """Return the status and the body of a GET on a connection of its own."""
        stream = await self.connect()
        async with stream:
            await stream.send_all(
                f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n".encode()
            )
            answer = b""
            while data := await stream.receive_some():
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    async def metric(self, series: str) -> float:
        """Return the value of one series on /metrics."""
        _, page = await self.get("/metrics")
        return _value(page, series)

    async def metric_becomes(self, series: str, value: float) -> None:
        """Return once the series has this value."""
        with trio.fail_after(10):
            while await self.metric(series) != value:
                await trio.lowlevel.checkpoint()


def _value(page: str, series: str) -> float:
    [value] = [line.split()[-1] for line in page.splitlines() if line.startswith(series + " ")]
    return float(value)


def terminate(number: int = signal.SIGTERM) -> None:
    """Send this very process a signal; a running serve() is listening."""
    os.kill(os.getpid(), number)


def upgrade_request(target: str, extra: str = "") -> bytes:
    """Return a WebSocket upgrade's request."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    ).encode()


async def read_head(stream: trio.abc.Stream, at_once: int = 1) -> bytes:
    """Return an answer's head, up to its empty line, and leave what is behind it unread.

    `at_once` is how many bytes to read where nothing can be behind it.
    """
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.receive_some(at_once)
        if not data:
            break
        head += data
    return head


@cache
def certificate_authority() -> trustme.CA:
    """Return the authority that the tests trust."""
    return trustme.CA()


@cache
def certificate() -> trustme.LeafCert:
    """Return a certificate for localhost."""
    return certificate_authority().issue_cert("localhost")


@asynccontextmanager
async def serving(tls: bool = False, **settings: Any) -> AsyncIterator[Service]:
    """Have the whole server on a free port until the block ends."""
    context = None
    with ExitStack() as files:
        if tls:
            pem = files.enter_context(certificate().private_key_and_cert_chain_pem.tempfile())
            settings |= {"tls_cert_file": pem, "tls_key_file": pem}
            context = ssl.create_default_context()
            certificate_authority().configure_trust(context)
        async with trio.open_nursery() as nursery:
            running = trio.CancelScope()
            service = Service(0, context, running.cancel)

            async def run(task_status: trio.TaskStatus[int]) -> None:
                with running:
                    service.in_full = await serve(
                        Settings(host="127.0.0.1", port=0, **settings), task_status=task_status
                    )
                service.stopped.set()

            service.port = await nursery.start(run)
            yield service
            await service.hang_up()
            running.cancel()
