"""The plain requests of one connection, served by Hypercorn's HTTP/1.1 protocol."""

import sys
from collections.abc import Awaitable, Callable

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

from service.net.message_link import AsgiSend

Address = tuple[str, int]

#: So many plain requests begin on one wake-up of the event loop, whatever many clients ask for.
REQUESTS_AT_ONCE = 3

_FORBIDDEN: WebsocketCloseEvent = {"type": "websocket.close", "code": 1000, "reason": None}


class Http1:
    """Requests in, answers out, each request in a task of its own.

    All connections share one `turnstile`, of REQUESTS_AT_ONCE. `write` writes and returns whether
    it could. `hang_up` closes the connection. `refused` is told of an upgrade that came too early.
    `idle` is told when a request begins (False) and when the next one may come (True).
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        turnstile: trio.Semaphore,
        *,
        tls: bool,
        ends: tuple[Address, Address],
        write: Callable[[bytes], Awaitable[bool]],
        hang_up: Callable[[], Awaitable[None]],
        refused: Callable[[], None],
        idle: Callable[[bool], None],
    ) -> None:
        self._write, self._hang_up, self._refused, self._idle = write, hang_up, refused, idle
        self._turnstile = turnstile
        self._writing = trio.Lock()
        self._requests: TaskGroup | None = None
        self._protocol = _Protocol(
            app,
            config,
            context,
            self,  # type: ignore[arg-type]  # HTTP/1.1 asks a TaskGroup for `spawn_app` only
            ConnectionState({}),
            tls,
            *ends,
            self._send,
        )

    async def receive(self, data: bytes) -> None:
        """Take the bytes of one read, none at the end of the stream."""
        await self._protocol.handle(RawData(data))

    async def closed(self) -> None:
        """Take note that the connection is closed."""
        await self._protocol.handle(Closed())

    async def finish(self) -> None:
        """Wait for the requests under way; in a `finally`, it takes the current exception along."""
        if self._requests is not None:
            await self._requests.__aexit__(*sys.exc_info())

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: AsgiSend
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Have the app serve a request; Hypercorn calls this, as it would its TaskGroup's."""
        if scope["type"] == "websocket":
            # An upgrade right behind another request. Alone, the connection would have seen it.
            self._refused()
            await send(_FORBIDDEN)
            return _never_put
        requests = self._requests
        if requests is None:
            # A nursery only for connections with requests: most are upgraded and have none.
            requests = self._requests = TaskGroup()
            await requests.__aenter__()
        async with self._turnstile:
            await trio.lowlevel.checkpoint()
        return await requests.spawn_app(app, config, scope, send)

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            async with self._writing:  # requests and their reader both write
                written = await self._write(event.data)
            if not written:
                await self._end()
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated):
            # Hypercorn would start a timer inside the finished request's cancelled scope, where
            # it never runs.
            self._idle(event.idle)

    async def _end(self) -> None:
        await self._hang_up()
        await self.closed()


class _Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1 without its way into HTTP/2, on which no session could own a stream."""

    async def _check_protocol(self, event: H11Request) -> None:
        pass


async def _never_put(event: ASGIReceiveEvent) -> None:
    """Drop an ASGI event for an upgrade that was refused."""
