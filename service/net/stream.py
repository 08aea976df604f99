"""A non-blocking socket, plain or with TLS, as a Trio stream.

Trio's own streams can only be awaited, and a cancelled `send_all` does not say how much it has
written. `send_some` here does; and `transport` is for code that never waits.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from service.net.tls import Tls

#: The most that one read gives, in bytes: 200 frames of 20 ms.
READ_BYTES = 65536
#: The kernel keeps at most so many bytes that it has not sent yet, so that a deadline notices a
#: slow peer early. It is Trio's number, for plain sockets.
_NOT_SENT_BYTES = 16384

#: What a socket raises, plain or with TLS, where a blocking one would wait.
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Result = TypeVar("Result")
#: What bytes are read from and written to, without waiting.
Transport = socket.socket | Tls


class Stream(trio.abc.Stream):
    """The server's side of an accepted connection; with a context it speaks TLS.

    With TLS, `do_handshake` comes first. As HTTPS peers do, the stream says goodbye when it closes
    and does not wait for the peer's.
    """

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.socket = accepted
        self.transport: Transport = accepted
        self._context = context
        accepted.setblocking(False)
        with suppress(OSError):  # the peer may be gone already
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            if context is None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)

    async def do_handshake(self, turnstile: trio.Semaphore) -> None:
        """Agree on keys, if there is TLS; raise trio.BrokenResourceError if that fails.

        A signature takes a millisecond. So each step waits for its turn at the turnstile, which
        all connections share.
        """
        if self._context is None:
            return

        async def ready(ours: socket.socket) -> None:
            await _readable(ours)
            async with turnstile:
                await trio.lowlevel.checkpoint()

        self.transport = tls = Tls(self.socket, self._context)
        await self._when_ready(tls.do_handshake, ready)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = READ_BYTES if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError("max_bytes must be at least 1")
        await self._step_aside()
        return await self._when_ready(partial(self.transport.recv, size), _readable)

    def send_now(self, data: bytes) -> int:
        """Write what the socket takes without waiting; return how many bytes, maybe none."""
        try:
            return self.transport.send(data) if data else 0
        except NOT_NOW:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_some(self, data: bytes | memoryview) -> int:
        """Write at least one byte; return how many.

        After a cancellation begin the next write with the same bytes: TLS may have sent a part of
        their encryption.
        """
        await self._step_aside()
        return await self._when_ready(partial(self.transport.send, data), _writable)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._step_aside()
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    sent += await self._when_ready(partial(self.transport.send, rest), _writable)

    async def wait_send_all_might_not_block(self) -> None:
        await self._step_aside()
        await _writable(self.socket)

    def half_close(self) -> None:
        """Say that nothing more will be written; TLS cannot say that and go on reading."""
        if self.transport is self.socket:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self.socket.fileno() >= 0:
            if isinstance(self.transport, Tls):
                with suppress(OSError):
                    self.transport.unwrap()
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()

    async def _step_aside(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.socket.fileno() < 0:
            raise trio.ClosedResourceError

    async def _when_ready(
        self,
        operation: Callable[[], Result],
        ready: Callable[[socket.socket], Awaitable[None]],
    ) -> Result:
        """Do the operation; while it would block, wait until the socket is ready for it."""
        while True:
            try:
                return operation()
            except (BlockingIOError, ssl.SSLWantReadError):
                if isinstance(self.transport, Tls) and self.transport.more:
                    await trio.lowlevel.checkpoint()
                else:
                    await ready(self.socket)
            except ssl.SSLWantWriteError:
                await _writable(self.socket)
            except OSError as error:
                if self.socket.fileno() < 0:
                    raise trio.ClosedResourceError from None
                raise trio.BrokenResourceError from error


_readable, _writable = trio.lowlevel.wait_readable, trio.lowlevel.wait_writable
