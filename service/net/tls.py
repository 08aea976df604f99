"""The server's side of TLS on a non-blocking socket, a few records at a time.

`ssl.SSLSocket` has OpenSSL read the socket. Within one read OpenSSL handles every record without
data that has arrived, so a peer that sends only KeyUpdates (RFC 8446, 4.6.3) would hold up the
process for seconds. Here OpenSSL gets whole records, and one call handles RECORDS_AT_ONCE. That
is possible because the header of a record is not encrypted.
"""

import socket
import ssl
from collections.abc import Callable

#: How many records one call handles; a record without data takes up to 0.1 ms.
RECORDS_AT_ONCE = 4
_HEADER_BYTES = 5
#: The longest content of a record, encrypted (RFC 5246, 6.2.3).
_CONTENT_BYTES = 16384 + 2048
#: The types of records (RFC 8446, 5.1).
_TYPES = range(20, 24)
#: How much is encrypted before the socket is asked to take it: the content of a record.
_PLAIN_BYTES = 16384

Buffer = bytearray | memoryview

_scratch = memoryview(bytearray(_HEADER_BYTES + _CONTENT_BYTES))  # for one read of any connection


class Tls:
    """A TLS connection with those methods of a non-blocking socket that a server needs.

    Where a blocking socket would wait, a method raises BlockingIOError, ssl.SSLWantReadError or
    ssl.SSLWantWriteError. `more`: a read has something to do, even if the socket has nothing.
    """

    __slots__ = (
        "_ciphertext", "_ended", "_incoming", "_next", "_outgoing", "_promised", "_read",
        "_records", "_socket", "_tls", "_undrained", "more",
    )  # fmt: skip

    def __init__(self, transport: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # typeshed knows only of the read without a buffer.
        self._read: Callable[[int, Buffer], int] = self._tls.read  # type: ignore[assignment]
        self._records = b""  # read from the socket, not given to OpenSSL yet;
        self._next = 0  # the first of them, whole, has so many bytes
        self._undrained = False  # OpenSSL has decrypted more than the last read took
        self._ended = False  # the peer sends no more
        self._ciphertext = b""  # the socket has not taken it yet;
        self._promised = 0  # so many bytes that `send` has not reported yet are in it
        self.more = False

    def fileno(self) -> int:
        """Return the descriptor of the socket, -1 once it is closed."""
        return self._socket.fileno()

    def do_handshake(self) -> None:
        """Agree on keys; raise ssl.SSLError if that fails."""
        if not self.more:
            self._keep(self._socket.recv_into(_scratch))
        try:
            for _ in range(RECORDS_AT_ONCE):
                self._feed()
                try:
                    return self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    if not self.more:
                        break
            raise ssl.SSLWantReadError
        finally:
            self.flush()  # if it has failed, the alert that says why

    def recv_into(self, buffer: bytearray) -> int:
        """Read what the next records have; return how many bytes, 0 at the end of the stream."""
        if self._ciphertext and not self.flush():
            raise ssl.SSLWantWriteError
        if not self.more:
            size = self._socket.recv_into(_scratch)
            if size != _HEADER_BYTES + (_scratch[3] << 8 | _scratch[4]) or self._records:
                self._keep(size)
            else:
                # One record and all of it, as a frame in real time comes: go the shortest way.
                self._incoming.write(_scratch[:size])
                if size < len(buffer):
                    try:
                        count = self._read(len(buffer), buffer)
                        if count:
                            return count
                    except ssl.SSLWantReadError:
                        pass
        view, size = memoryview(buffer), 0
        for _ in range(RECORDS_AT_ONCE):
            self._feed()
            try:
                count = self._read(len(buffer), view[size:])
                self._ended = not count  # the peer has said goodbye
                size += count
            except ssl.SSLWantReadError:  # a record without data
                pass
            except ssl.SSLEOFError:
                self._ended = True
            if size == len(buffer) or self._ended or not self.more:
                break
        self._undrained = size == len(buffer) and self._tls.pending() > 0
        self._look()
        if not self._ended:
            self.flush()  # OpenSSL answers some records without data
        if not size and not self._ended:
            raise ssl.SSLWantReadError
        return size

    def recv(self, most: int) -> bytes:
        """Read at most so many bytes; return none at the end of the stream."""
        buffer = bytearray(most)
        size = self.recv_into(buffer)
        return bytes(memoryview(buffer)[:size])

    def send(self, data: bytes | memoryview) -> int:
        """Write what the socket takes; return how many bytes.

        The next call must begin with the bytes that were not written: they may be encrypted.
        """
        if self._ciphertext and not self.flush():
            raise ssl.SSLWantWriteError
        sent, self._promised = self._promised, 0
        while sent < len(data):
            count = self._tls.write(data[sent : sent + _PLAIN_BYTES])
            ciphertext = self._outgoing.read()
            try:
                taken = self._socket.send(ciphertext)
            except BlockingIOError:
                taken = 0
            if taken < len(ciphertext):
                self._ciphertext, self._promised = ciphertext[taken:], count
                if not sent:
                    raise ssl.SSLWantWriteError
                break
            sent += count
        return sent

    def flush(self) -> bool:
        """Have the socket take what is encrypted; return whether it took all."""
        if self._outgoing.pending:
            self._ciphertext += self._outgoing.read()
        while self._ciphertext:
            try:
                self._ciphertext = self._ciphertext[self._socket.send(self._ciphertext) :]
            except BlockingIOError:
                return False
        return True

    def unwrap(self) -> None:
        """Say goodbye; raise ssl.SSLWantReadError if the peer has not said it."""
        try:
            self._tls.unwrap()
        finally:
            self.flush()

    def _keep(self, size: int) -> None:
        """Keep what was read; raise ssl.SSLWantReadError if that gives OpenSSL nothing to do."""
        self._records += _scratch[:size]
        if not size:
            self._incoming.write_eof()
            self._ended = True
        self._look()
        if not self.more:
            raise ssl.SSLWantReadError

    def _look(self) -> None:
        """Look whether OpenSSL has something to do."""
        records = self._records
        self._next = 0
        if len(records) >= _HEADER_BYTES:
            size = records[3] << 8 | records[4]
            if records[0] not in _TYPES or records[1] != 3 or size > _CONTENT_BYTES:
                self._next = len(records)  # no TLS; OpenSSL knows what to say
            elif len(records) >= _HEADER_BYTES + size:
                self._next = _HEADER_BYTES + size
        self.more = self._next > 0 or self._undrained or self._ended

    def _feed(self) -> None:
        """Give OpenSSL one record, unless it has something to do without."""
        if self._next and not self._undrained:
            self._incoming.write(self._records[: self._next])
            self._records = self._records[self._next :]
            self._look()
