"""Where connections come in."""

import socket
from collections.abc import Sequence
from typing import Self

import trio

from service.config import ConfigurationError
from service.net.accept import accept
from service.net.connection import Connection, Shared

#: How many new connections the kernel may queue; a storm of reconnects comes all at once.
_BACKLOG = 4096


class Door:
    """One bound TCP port, and what its connections share; `with` it, it is closed at the end."""

    def __init__(self, listeners: Sequence[trio.SocketListener], shared: Shared) -> None:
        self._listeners, self.shared = listeners, shared
        names = [listener.socket.getsockname() for listener in listeners]
        self.addresses: list[str] = [name[0] for name in names]
        self.port: int = names[0][1]

    @classmethod
    async def open(cls, shared: Shared, settings: str, host: str, port: int) -> Self:
        """Listen there; raise ConfigurationError, which names the settings `settings`HOST and PORT.

        `port` may be 0; `host` may have more than one address.
        """
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigurationError(
                f"{settings}HOST={host} {settings}PORT={port}: "
                f"cannot listen there: {error.strerror or error}"
            ) from None
        for listener in listeners:
            # A client speaks first. Accept its connection with its request: that saves a wake-up.
            if hasattr(socket, "TCP_DEFER_ACCEPT"):
                listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        return cls(listeners, shared)

    def let_in(self, listening: trio.Nursery, connections: trio.Nursery) -> None:
        """Accept until `listening` is cancelled; each connection is a task of `connections`."""

        def take(transport: socket.socket, address: str) -> None:
            connections.start_soon(Connection(self.shared, transport, address).run)

        for listener in self._listeners:
            listening.start_soon(accept, listener, self.shared.lobby, take)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.socket.close()
