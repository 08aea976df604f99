"""RFC 6455 without I/O: the server's side of one connection, bytes in, messages and bytes out.

The protocol is websockets' `ServerProtocol`. What stands here is the cut into whole frames, so
that a whole, unfragmented binary frame (all that a healthy caller ever sends) costs one call of
the C mask and no protocol object at all, while every other frame goes to the protocol.
"""

from functools import lru_cache

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from service.ending import (
    INVALID_PAYLOAD,
    NO_STATUS_RECEIVED,
    Ending,
    completed,
    rejected,
)

_BINARY = 0x80 | Opcode.BINARY
_TEXT = 0x80 | Opcode.TEXT
_CLOSE = 0x80 | Opcode.CLOSE
_MASKED = 0x80
_RESERVED_BITS = 0x70
#: An empty ping (RFC 6455, 5.5.2).
PING = Frame(Opcode.PING, b"").serialize(mask=False)


def frame(message: bytes | str) -> bytes:
    """Return the message as one unmasked, unfragmented frame (RFC 6455, 5.2)."""
    if isinstance(message, str):
        payload = message.encode()
        return _header(_TEXT, len(payload)) + payload
    return _binary_header(len(message)) + message


@lru_cache(maxsize=1024)
def _binary_header(size: int) -> bytes:
    return _header(_BINARY, size)


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2)
    return bytes((first, 127)) + size.to_bytes(8)


class Wire:
    """One connection's framing; messages may have at most `max_bytes`.

    `feed` what was read and get the messages it completes; send what `take_replies` returns;
    `ending` is set once the peer has closed, or has broken the protocol.
    """

    __slots__ = (
        "_between_messages",
        "_hopeless",
        "_message",
        "_needed",
        "_partial",
        "_protocol",
        "_replies",
        "_text",
        "_usual_end",
        "_usual_payload",
        "_usual_start",
        "ending",
        "max_bytes",
    )

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.ending: Ending | None = None
        self._protocol: ServerProtocol | None = None
        self._between_messages = True
        self._hopeless = False
        self._partial: bytearray | None = None  # the beginning of a frame
        self._needed = 0  # how many bytes of it must be there before a look at it is worthwhile
        self._message: bytearray | None = None  # the beginning of a fragmented message
        self._text = False
        self._replies = b""
        self._usual_end, self._usual_payload, self._usual_start = -1, 0, b""

    def whole(self, buffer: bytearray, end: int) -> bytes | None:
        """Return the message if what was read, up to `end`, is just one whole binary message.

        A shortcut for the common case; nothing has been taken when it returns None, and `feed`
        takes all that it takes.
        """
        if not self._between_messages:
            return None
        # Callers seldom change the size of their frames, and with it what a frame begins with.
        if end != self._usual_end or not buffer.startswith(self._usual_start):
            if end < 6 or buffer[0] != _BINARY:
                return None
            size, payload = buffer[1] - _MASKED, 6
            if size == 126:
                size, payload = buffer[2] << 8 | buffer[3], 8
            if end != payload + size or size > self.max_bytes:
                return None
            self._usual_end, self._usual_payload = end, payload
            self._usual_start = bytes(buffer[: payload - 4])
        payload = self._usual_payload
        return apply_mask(buffer[payload:end], buffer[payload - 4 : payload])

    def feed(self, data: bytes) -> list[bytes | str]:
        """Return the messages that these bytes complete, in order."""
        if self._partial is not None:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data, self._partial = bytes(self._partial), None
        messages: list[bytes | str] = []
        start, available = 0, len(data)
        while start < available and self.ending is None:
            payload, end = (0, available) if self._hopeless else self._extent(data, start)
            if end > available:
                self._partial, self._needed = bytearray(data[start:]), end - start
                break
            if data[start] == _BINARY and self._message is None and payload:
                messages.append(apply_mask(data[payload:end], data[payload - 4 : payload]))
            else:
                # A frame that can only be refused has no end to be cut at: the protocol has it and
                # all that follows, and finds the fault once it has seen enough.
                self._hopeless = not payload
                self._interpret(data[start:end], messages)
            start = end
        self._between_messages = (
            self._partial is None
            and self._message is None
            and self.ending is None
            and not self._hopeless
        )
        return messages

    def _extent(self, data: bytes, start: int) -> tuple[int, int]:
        """Return where the payload begins, and where the frame ends or the next look is due.

        A frame that can only be refused ends with the data, its payload nowhere (0): the protocol
        gets it as it is, and finds the fault.
        """
        available = len(data)
        if available < start + 2:
            return 0, start + 2
        size = data[start + 1] & ~_MASKED
        payload = start + (6 if size < 126 else 8 if size == 126 else 14)
        if not data[start + 1] & _MASKED or data[start] & _RESERVED_BITS:
            return 0, available
        if available < payload:
            return 0, payload
        if size >= 126:
            size = int.from_bytes(data[start + 2 : payload - 4])
        if size > self.max_bytes:
            return 0, available
        return payload, payload + size

    def _interpret(self, data: bytes, messages: list[bytes | str]) -> None:
        protocol = self._speaking()
        if self._message is not None and data[0] == _CLOSE:
            # A control frame may stand between the fragments of a message (RFC 6455, 5.4), and a
            # close is one; the protocol would call it an error.
            self._message = protocol.current_size = None
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._message, self._text = bytearray(event.data), event.opcode is Opcode.TEXT
            elif event.opcode is Opcode.CONT and self._message is not None:
                self._message += event.data
            else:
                continue
            if event.fin:
                self._complete(messages, protocol)
        self._replies += b"".join(protocol.data_to_send())
        if self.ending is None and protocol.state is not OPEN:
            self.ending = _ending(protocol)

    def _complete(self, messages: list[bytes | str], protocol: ServerProtocol) -> None:
        assert self._message is not None
        content, self._message = bytes(self._message), None
        if not self._text:
            messages.append(content)
            return
        try:
            messages.append(content.decode())
        except UnicodeDecodeError:
            # The protocol leaves this check to whoever joins the fragments (RFC 6455, 8.1).
            ending = rejected("invalid_text", INVALID_PAYLOAD, "a text message must be UTF-8")
            protocol.fail(INVALID_PAYLOAD, ending.reason)
            self.ending = ending

    def take_replies(self) -> bytes:
        """Return what the protocol itself has to send: pongs, and its part of a close."""
        replies, self._replies = self._replies, b""
        return replies

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame for this code and reason; nothing if one was sent before."""
        protocol = self._speaking()
        if protocol.state is not OPEN:
            return b""
        # A reason must fit a control frame: 125 bytes less two of the code (RFC 6455, 5.5.1).
        protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        # What comes from now on is read for the peer's own close frame only.
        self._message, self.ending = None, None
        return b"".join(protocol.data_to_send())

    @property
    def peer_code(self) -> int | None:
        """The code of the peer's close frame, 1005 if it gave none; None while there is none."""
        received = None if self._protocol is None else self._protocol.close_rcvd
        return None if received is None else int(received.code)

    def discard(self) -> None:
        """Let go of the protocol, whose parser refers to it; nothing may be fed any more."""
        if self._protocol is not None:
            self._protocol.parser.close()

    def _speaking(self) -> ServerProtocol:
        if self._protocol is None:
            self._protocol = ServerProtocol(state=OPEN, max_size=self.max_bytes)
        return self._protocol


def _ending(protocol: ServerProtocol) -> Ending:
    """Return what a protocol that is no longer open says of the peer."""
    fault, sent, received = protocol.parser_exc, protocol.close_sent, protocol.close_rcvd
    if fault is None:
        return completed(int(received.code) if received else NO_STATUS_RECEIVED)
    assert sent is not None
    rejection = {
        PayloadTooBig: "too_large",
        UnicodeDecodeError: "invalid_text",
    }.get(type(fault), "protocol")
    return rejected(rejection, int(sent.code), sent.reason)
