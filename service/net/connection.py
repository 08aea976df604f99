"""One accepted connection: its stream, and who speaks on it.

Plain requests are Hypercorn's HTTP/1.1 protocol's. A request to upgrade to WebSocket goes past it,
through websockets' opening handshake to the app, and the session that comes of it owns the stream.

This stands where Hypercorn has its `TCPServer`, for the sake of promises that one does not keep: a
bug in one connection ends that connection; no write waits longer than the send deadline; an idle
connection is closed, at shutdown at once; and nobody reads beside a session.
"""

import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

import trio
from h11 import Request as H11Request
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ConnectionState,
    Scope,
    WebsocketCloseEvent,
)

from service import logs
from service.conversation import Link
from service.net.links import READ_BYTES, AsgiSend
from service.net.tls import TlsStream
from service.websocket.handshake import Handshake, asks_for_websocket, could_be_head, head_end

_log = logs.get(__name__)

#: How long a TLS client may take over its handshake, in seconds.
_TLS_HANDSHAKE_SECONDS = 10


@dataclass(frozen=True)
class Shared:
    """What all connections of a server have in common."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    send_seconds: float
    make_link: Callable[[trio.abc.Stream, socket.socket], Link]
    tls: ssl.SSLContext | None
    connections: "set[Connection]" = field(default_factory=set)


_FORBIDDEN: WebsocketCloseEvent = {"type": "websocket.close", "code": 1000, "reason": None}


class _Http1(H11Protocol):
    """Hypercorn's HTTP/1.1 without its way into HTTP/2, on which no session could own a stream."""

    async def _check_protocol(self, event: H11Request) -> None:
        pass


class Connection:
    """One connection, from its handshake to its close; `run` never raises an Exception.

    A plain request runs in a task of its own, so that the connection is read meanwhile. An
    upgrade runs in the connection's task: nobody reads then, so the session may.
    """

    def __init__(self, shared: Shared, transport: socket.socket) -> None:
        self._shared = shared
        self._socket = transport
        self._stream: trio.SocketStream | TlsStream
        if shared.tls is None:
            self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(transport))
        else:
            self._stream = TlsStream(transport, shared.tls)
        self._idle_until = trio.current_time() + shared.config.keep_alive_timeout
        self._reading: trio.CancelScope | None = None
        self._requests: TaskGroup | None = None
        self._http: _Http1 | None = None
        self._new = True
        self._early = b""  # what a peer sent behind its request to upgrade, ahead of the answer

    async def run(self) -> None:
        """Serve requests until either side has had enough, or an upgrade's session has ended."""
        self._shared.connections.add(self)
        try:
            await self._serve()
        except Exception:
            _log.exception("connection_failed")
        finally:
            self._shared.connections.discard(self)
            await self._stream.aclose()

    def retire(self) -> None:
        """Close now if idle; otherwise the request under way is the last."""
        if self._idle_until < inf:
            self._wait_until(-inf)

    def link(self) -> Link | None:
        """Return the link that owns the stream once the upgrade is answered.

        None if the peer did not wait for the answer (RFC 6455, 4.1), so that it is to be refused.
        """
        if self._early:
            return None
        return self._shared.make_link(self._stream, self._socket)

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: AsgiSend
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Have the app serve a request; Hypercorn calls this, as it would its TaskGroup's."""
        if scope["type"] == "websocket":
            # It came right behind another request; alone it would have been answered here.
            await send(_FORBIDDEN)
            return _never_put
        requests = self._requests
        if requests is None:
            # A nursery for those that need one; most connections are upgraded and do not.
            requests = self._requests = TaskGroup()
            await requests.__aenter__()
        return await requests.spawn_app(app, config, scope, send)

    async def _serve(self) -> None:
        if isinstance(self._stream, TlsStream):
            with trio.move_on_after(_TLS_HANDSHAKE_SECONDS) as handshake:
                try:
                    await self._stream.do_handshake()
                except trio.BrokenResourceError:
                    return
            if handshake.cancelled_caught:
                return
            self._socket = self._stream.transport
        try:
            self._ends = self._socket.getpeername()[:2], self._socket.getsockname()[:2]
        except OSError:  # gone before it was looked at
            return
        try:
            await self._read()
        finally:
            if self._requests is not None:
                await self._requests.__aexit__(*sys.exc_info())
            # It refers to the connection; without it all goes with its last reference, and the
            # garbage collector has nothing to find.
            self._http = None

    async def _read(self) -> None:
        head = b""
        while (data := await self._receive()) is not None:
            if self._idle_until < inf:
                # Between requests: look at a whole head before saying whose it is.
                head += data
                end = head_end(head)
                if data and not end and could_be_head(head):
                    continue
                if asks_for_websocket(head[:end]):
                    self._wait_until(inf)
                    self._early = head[end:]
                    await self._answer_upgrade(Handshake(head[:end]))
                    return
                data, head = head, b""
            await self._speak_http(data)
            if not data:
                break
        if self._http is not None:
            await self._http.handle(Closed())

    async def _receive(self) -> bytes | None:
        """Return what is read, empty at the end; None if it is to be waited for no longer."""
        if self._new:
            # A client speaks first, so its request is there mostly, and Trio need not wait for it.
            self._new = False
            with suppress(OSError):
                return self._socket.recv(READ_BYTES)
        with trio.CancelScope(deadline=self._idle_until) as self._reading:
            try:
                return bytes(await self._stream.receive_some(READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        return None

    async def _speak_http(self, data: bytes) -> None:
        if self._http is None:
            self._sending = trio.Lock()
            self._http = _Http1(
                self._shared.app,
                self._shared.config,
                self._shared.context,
                self,  # type: ignore[arg-type]  # all of a TaskGroup that HTTP/1.1 asks for
                ConnectionState({}),
                self._shared.tls is not None,
                *self._ends,
                self._send,
            )
        await self._http.handle(RawData(data))

    async def _answer_upgrade(self, handshake: Handshake) -> None:
        if handshake.error is not None:
            await self._write_now(handshake.error)
            return
        client, server = self._ends

        async def answer(event: Any) -> None:
            data = handshake.answer(event)
            if data:
                await self._write_now(data)

        await self._shared.app(
            handshake.scope(  # type: ignore[arg-type]
                scheme="ws" if self._shared.tls is None else "wss",
                client=client,
                server=server,
                state={"connection": self},
            ),
            trio.sleep_forever,
            answer,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )

    async def _write_now(self, data: bytes) -> None:
        """Write an answer to an upgrade; there is room for it mostly, and Trio need not wait."""
        with suppress(OSError):
            data = data[self._socket.send(data) :]
        if data:
            await self._written_in_time(data)

    async def _send(self, event: Event) -> None:
        """Do what the protocol asks for: write, close, or begin or end being idle."""
        if isinstance(event, RawData):
            if not await self._written(event.data):
                await self._hang_up()
        elif isinstance(event, Closed):
            await self._hang_up()
        elif isinstance(event, Updated):
            # Here and not by a task of Hypercorn's, which would be started inside the finished
            # request's cancelled scope and so never run.
            if not event.idle:
                self._wait_until(inf)
            elif self._shared.context.terminated.is_set():
                self._wait_until(-inf)
            else:
                self._wait_until(trio.current_time() + self._shared.config.keep_alive_timeout)

    def _wait_until(self, deadline: float) -> None:
        """Set until when to wait for a request; never ending while one is under way."""
        self._idle_until = deadline
        if self._reading is not None:
            self._reading.deadline = deadline

    async def _hang_up(self) -> None:
        await self._stream.aclose()
        assert self._http is not None
        await self._http.handle(Closed())

    async def _written(self, data: bytes) -> bool:
        async with self._sending:  # requests and their reader both write
            return await self._written_in_time(data)

    async def _written_in_time(self, data: bytes) -> bool:
        # The request's own scope may be cancelled while its answer is on the way out.
        with trio.move_on_after(self._shared.send_seconds, shield=True):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            return True
        return False


async def _never_put(event: ASGIReceiveEvent) -> None:
    """Drop an ASGI event for an upgrade that was refused."""
