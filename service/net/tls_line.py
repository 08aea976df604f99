"""A line over TLS, whose transport may have read more than it has given."""

import select
from collections import deque

from service.ending import ABORTED
from service.net.line import GREEDY_BYTES, READING, Inbox, Line
from service.net.talk import Talk
from service.net.tls import Tls


class TlsLine(Line):
    """A line that looks at its transport too: the epoll knows only the socket."""

    __slots__ = ("_tls",)

    def __init__(self, transport: Tls, talk: Talk) -> None:
        super().__init__(transport, talk)
        self._tls = transport

    def start(self, epoll: select.epoll, backlog: "deque[Line]") -> None:
        super().start(epoll, backlog)
        if self._tls.more:
            self._wake_pump()

    def read(self, buffer: bytearray, inbox: Inbox) -> int:
        size = super().read(buffer, inbox)
        if self._tls.more and self._state == READING:
            self._wait_for_turn()
        return size

    def _settle(self, size: int) -> None:
        super()._settle(GREEDY_BYTES if self._tls.more else size)

    def _write_on(self) -> None:
        # There may be no unsent bytes of ours, but an answer to the peer's KeyUpdate.
        try:
            flushed = self._tls.flush()
        except OSError:
            self._end(ABORTED)
            return
        if flushed:
            super()._write_on()
