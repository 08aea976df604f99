"""New connections, a few on one wake-up, since a storm of reconnects comes at once."""

import errno
import socket
from collections.abc import Callable

import trio

from service import logs
from service.net.lobby import Lobby

_log = logs.get(__name__)

#: How many connections are accepted at once, before the calls on the line get their turn.
_AT_ONCE = 3
#: The system has no room for another connection. How long to wait for some, in seconds.
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_NO_ROOM_SECONDS = 0.1
#: One warning in so many seconds is enough.
_WARNING_SECONDS = 10
#: The connection was lost before it was accepted (accept(2) on Linux, and POSIX).
_LOST = {
    errno.ECONNABORTED, errno.ECONNRESET, errno.EPERM, errno.EPROTO, errno.ETIMEDOUT,
    errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EOPNOTSUPP,
    errno.ENOPROTOOPT, errno.EINTR,
}  # fmt: skip


async def accept(
    listener: trio.SocketListener, lobby: Lobby, take: Callable[[socket.socket, str], None]
) -> None:
    """Give the socket of each new connection, and the peer's address, to `take`, until cancelled.

    Then stop listening. Raises OSError if the listener itself is broken.
    """
    warning = logs.Sparse(_WARNING_SECONDS)
    # Trio's own accept takes two turns of the event loop for each connection.
    descriptor = socket.dup(listener.socket.fileno())
    with listener.socket as ours, socket.socket(ours.family, ours.type, 0, descriptor) as ears:
        ears.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(ears)
            try:
                for _ in range(_AT_ONCE):
                    transport, (address, *_) = ears.accept()
                    lobby.make_room()
                    take(transport, address)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _NO_ROOM:
                    left_out = warning.passes(trio.current_time())
                    if left_out is not None:
                        _log.warning("cannot_accept", message=error.strerror, left_out=left_out)
                    lobby.evict_one()
                    await trio.sleep(_NO_ROOM_SECONDS)
                elif error.errno not in _LOST:
                    raise
