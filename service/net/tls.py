"""TLS on a socket that is never waited for: a stream for requests, a transport for sessions.

Trio's `SSLStream` can only be awaited, which takes two turns of the event loop and three cancel
scopes for each message. The standard library's `SSLSocket` says instead that it would have to wait,
as a plain socket does, and so the pump can carry it.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

#: How much is read unless somebody says otherwise: TLS has no larger records.
READ_BYTES = 16384

Result = TypeVar("Result")


class TlsStream(trio.abc.Stream):
    """The server's side of TLS over an accepted socket; `do_handshake` comes first.

    `transport` is what to read and write without waiting. As HTTPS peers do, it says goodbye when
    it closes and does not wait to hear it.
    """

    def __init__(self, transport: socket.socket, context: ssl.SSLContext) -> None:
        self.transport = transport
        self._context = context

    async def do_handshake(self) -> None:
        """Agree on keys; raise trio.BrokenResourceError if that fails or the peer is gone."""
        self.transport.setblocking(False)
        try:
            self.transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self.transport.getpeername()  # else wrapping raises with the socket left open
            wrapped = self._context.wrap_socket(
                self.transport, server_side=True, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:  # gone before it was looked at
            raise trio.BrokenResourceError from error
        self.transport = wrapped
        await self._when_ready(wrapped.do_handshake)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = READ_BYTES if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError("max_bytes must be at least 1")
        await self._step_aside()
        return await self._when_ready(partial(self.transport.recv, size))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._step_aside()
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    sent += await self._when_ready(partial(self.transport.send, rest))

    async def wait_send_all_might_not_block(self) -> None:
        await self._step_aside()
        await trio.lowlevel.wait_writable(self.transport)

    async def aclose(self) -> None:
        if self.transport.fileno() >= 0:
            if isinstance(self.transport, ssl.SSLSocket):
                with suppress(OSError, ValueError):
                    self.transport.unwrap()
            trio.lowlevel.notify_closing(self.transport)
            self.transport.close()
        await trio.lowlevel.checkpoint()

    async def _step_aside(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.transport.fileno() < 0:
            raise trio.ClosedResourceError

    async def _when_ready(self, operation: Callable[[], Result]) -> Result:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self.transport)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self.transport)
            except OSError as error:
                if self.transport.fileno() < 0:
                    raise trio.ClosedResourceError from None
                raise trio.BrokenResourceError from error
