"""One accepted connection: bytes between its stream and Hypercorn's HTTP/1.1 protocol.

It stands where Hypercorn has its `TCPServer`, for the sake of four promises that one does not
keep: a bug in one connection ends that connection; no write waits longer than the send deadline;
an idle keep-alive connection is closed, at shutdown at once; and an upgraded connection can be
taken over, so that its session owns the stream alone.
"""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf

import trio
from h11 import Request as H11Request
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ConnectionState, Scope
from hypercorn.utils import parse_socket_addr

from service import logs
from service.link import READ_BYTES, AsgiSend, Link

_log = logs.get(__name__)

#: How long a TLS client may take over its handshake, in seconds.
_TLS_HANDSHAKE_SECONDS = 10


Transport = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True)
class Shared:
    """What all connections of a server have in common."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    send_seconds: float
    make_link: Callable[[trio.abc.Stream], Link]
    connections: "set[Connection]" = field(default_factory=set)


class _Http1(H11Protocol):
    """Hypercorn's HTTP/1.1 without its way into HTTP/2, on which nothing could be taken over."""

    async def _check_protocol(self, event: H11Request) -> None:
        pass


class Connection:
    """One connection, from its handshake to its close; `run` never raises an Exception.

    A plain request runs in a task of its own, so that the connection is read meanwhile. An
    upgrade runs in the connection's task: nobody reads then, so the session may.
    """

    def __init__(self, shared: Shared, stream: Transport) -> None:
        self._shared = shared
        self._stream = stream
        self._sending = trio.Lock()
        self._idle_until = trio.current_time() + shared.config.keep_alive_timeout
        self._reading = trio.CancelScope()
        self._requests: TaskGroup | None = None
        self._upgrade: tuple[Scope, AsgiSend] | None = None

    async def run(self) -> None:
        """Serve requests until either side has had enough, or an upgrade's session has ended."""
        self._shared.connections.add(self)
        try:
            await self._serve()
        except Exception:
            _log.exception("connection_failed")
        finally:
            self._shared.connections.discard(self)
            # At once, over TLS too, since its listener is https_compatible.
            await self._stream.aclose()

    def retire(self) -> None:
        """Close now if idle; otherwise the request under way is the last."""
        if self._idle_until < inf:
            self._reading.cancel()

    def link(self) -> Link | None:
        """Return the link that owns the stream from now on, after the upgrade was answered.

        None if Hypercorn did not answer it, because the peer had sent data ahead.
        """
        assert isinstance(self._http.stream, WSStream)
        if not self._http.stream.handshake.accepted:
            return None
        # Its protocol would lie idle as long as the session lasts: 2 KiB for each.
        del self._http.stream.connection, self._http.connection
        return self._shared.make_link(self._stream)

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: AsgiSend
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Have the app serve a request; Hypercorn calls this, as it would its TaskGroup's."""
        if scope["type"] == "websocket":
            self._upgrade = scope, send
            return _never_put
        requests = self._requests
        if requests is None:
            # A nursery for those that need one; most connections are upgraded and do not.
            requests = self._requests = TaskGroup()
            await requests.__aenter__()
        return await requests.spawn_app(app, config, scope, send)

    async def _serve(self) -> None:
        transport = self._stream
        if isinstance(transport, trio.SSLStream):
            with trio.move_on_after(_TLS_HANDSHAKE_SECONDS) as handshake:
                try:
                    await transport.do_handshake()
                except trio.BrokenResourceError:
                    return
            if handshake.cancelled_caught:
                return
            transport = transport.transport_stream
        try:
            client = parse_socket_addr(transport.socket.family, transport.socket.getpeername())
        except OSError:  # gone before it was looked at
            return
        server = parse_socket_addr(transport.socket.family, transport.socket.getsockname())
        self._http = _Http1(
            self._shared.app,
            self._shared.config,
            self._shared.context,
            self,  # type: ignore[arg-type]  # all of a TaskGroup that HTTP/1.1 asks for
            ConnectionState({"connection": self}),
            transport is not self._stream,
            client,
            server,
            self._send,
        )
        try:
            await self._read()
        finally:
            if self._requests is not None:
                await self._requests.__aexit__(*sys.exc_info())
            # These refer to the connection; taken apart, all of it goes with its last reference,
            # and the garbage collector has nothing to find.
            self._http.stream = self._upgrade = None
            del self._http

    async def _read(self) -> None:
        while self._upgrade is None:
            with trio.CancelScope(deadline=self._idle_until) as self._reading:
                try:
                    data = await self._stream.receive_some(READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    break
            if self._reading.cancelled_caught:
                break
            await self._http.handle(RawData(bytes(data)))
            if not data:
                break
        if self._upgrade is None:
            await self._http.handle(Closed())
        else:
            await self._answer_upgrade(*self._upgrade)

    async def _answer_upgrade(self, scope: Scope, send: AsgiSend) -> None:
        stream = self._http.stream
        assert isinstance(stream, WSStream)
        # No compression: it saves 5 to 9 % on 20 ms of audio and costs more than all else.
        stream.handshake.extensions = None
        try:
            await self._shared.app(
                scope, trio.sleep_forever, send, trio.to_thread.run_sync, trio.from_thread.run
            )
        finally:
            if not stream.handshake.accepted:
                await send(None)

    async def _send(self, event: Event) -> None:
        """Do what the protocol asks for: write, close, or begin or end being idle."""
        if isinstance(event, RawData):
            if not await self._written(event.data):
                await self._hang_up()
        elif isinstance(event, Closed):
            await self._hang_up()
        elif isinstance(event, Updated):
            idle = self._shared.config.keep_alive_timeout if event.idle else inf
            # Set here and not by a task of Hypercorn's, which would be started inside the
            # finished request's cancelled scope and so never run.
            self._idle_until = trio.current_time() + idle
            self._reading.deadline = self._idle_until
            if event.idle and self._shared.context.terminated.is_set():
                self._reading.cancel()

    async def _hang_up(self) -> None:
        await self._stream.aclose()
        await self._http.handle(Closed())

    async def _written(self, data: bytes) -> bool:
        try:
            self._sending.acquire_nowait()  # spares a turn of the event loop
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            # The request's own scope may be cancelled while its answer is on the way out.
            with trio.move_on_after(self._shared.send_seconds, shield=True):
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return False
                return True
            return False
        finally:
            self._sending.release()


async def _never_put(event: ASGIReceiveEvent) -> None:
    """Drop an ASGI event for an upgrade, whose session reads the stream itself."""
