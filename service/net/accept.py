"""Connections as they come in: a few on one wake-up, since a storm of reconnects comes at once."""

import errno
import socket
from collections.abc import Callable

import trio

from service import logs

_log = logs.get(__name__)

#: How many connections are taken on at once, before the calls on the line get their turn.
_AT_ONCE = 3
#: What the system says when it has no room for another connection, and how long to wait for some.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_NO_ROOM_SECONDS = 0.1


async def accept(listener: trio.SocketListener, take: Callable[[socket.socket], None]) -> None:
    """Give each new connection's socket to `take`, until cancelled; then close the listener."""
    # Trio's own accept takes two turns of the event loop for each connection.
    descriptor = socket.dup(listener.socket.fileno())
    with listener.socket as ours, socket.socket(ours.family, ours.type, 0, descriptor) as ears:
        ears.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(ears)
            try:
                for _ in range(_AT_ONCE):
                    take(ears.accept()[0])
            except BlockingIOError:
                pass
            except OSError as error:
                # Anything else ended one connection before it was taken on.
                if error.errno in _NO_ROOM:
                    _log.warning("cannot_accept", message=error.strerror)
                    await trio.sleep(_NO_ROOM_SECONDS)
