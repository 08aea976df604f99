"""RFC 6455 without I/O: the server's side of one connection, bytes in, messages and bytes out.

The protocol is websockets' `ServerProtocol`. This file only cuts the bytes into whole frames. A
healthy caller sends whole messages: such a frame costs one call of the C mask, and no protocol
object. Every other frame goes to the protocol.
"""

from functools import lru_cache

from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from service.ending import (
    INVALID_PAYLOAD,
    NO_STATUS_RECEIVED,
    NORMAL_CLOSURE,
    Ending,
    Rejection,
    completed,
    rejected,
)

_BINARY = 0x80 | Opcode.BINARY
_TEXT = 0x80 | Opcode.TEXT
_CLOSE = 0x80 | Opcode.CLOSE
_MASKED = 0x80
_RESERVED_BITS = 0x70
_CONTROL = 0x08
#: The causes of a hang-up (ITU-T Q.850), which Asterisk closes with.
HANGUP_CAUSES = range(1, 128)
#: What the protocol is told instead: it knows only the codes of RFC 6455.
_CLOSED_NORMALLY = Frame(Opcode.CLOSE, Close(NORMAL_CLOSURE, "").serialize()).serialize(mask=True)
#: An empty ping (RFC 6455, 5.5.2).
PING = Frame(Opcode.PING, b"").serialize(mask=False)


def frame(message: bytes | str) -> bytes:
    """Return the message as one unmasked, unfragmented frame (RFC 6455, 5.2)."""
    if isinstance(message, bytes):
        return binary_header(len(message)) + message
    payload = message.encode()
    return _text_header(len(payload)) + payload


@lru_cache(maxsize=1024)
def binary_header(size: int) -> bytes:
    """Return what stands before the payload of a whole binary message of that size."""
    return _header(_BINARY, size)


@lru_cache(maxsize=1024)
def _text_header(size: int) -> bytes:
    return _header(_TEXT, size)


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2)
    return bytes((first, 127)) + size.to_bytes(8)


class Wire:
    """The framing of one connection, whose messages may have at most `max_bytes`.

    `feed` it each read, take the messages with `messages`, and send the bytes of `take_replies`.
    `more` says that bytes wait for another `messages`. `ending` is set once the peer has closed or
    has broken the protocol. With `hangup_causes` the peer's close code may be one of ITU-T Q.850.
    """

    __slots__ = (
        "_between_messages", "_broken", "_data", "_hangup_causes", "_last_end", "_last_payload",
        "_last_start", "_last_text", "_message", "_needed", "_protocol", "_replies", "_start",
        "_text", "ending", "max_bytes", "more",
    )  # fmt: skip

    def __init__(self, max_bytes: int, *, hangup_causes: bool = False) -> None:
        self.max_bytes, self._hangup_causes = max_bytes, hangup_causes
        self.ending: Ending | None = None
        self.more = False
        self._protocol: ServerProtocol | None = None
        self._between_messages = True
        self._broken = False
        self._data: bytes | bytearray = b""  # what was read and has not become a message yet,
        self._start = 0  # from here on
        self._needed = 0  # `messages` has nothing to do until so many bytes are there
        self._message: bytearray | None = None  # the fragments so far of a message
        self._text = False
        self._replies = b""
        self._last_end, self._last_payload, self._last_start = -1, 0, b""
        self._last_text = False

    def sole_message(self, buffer: bytearray, end: int) -> bytes | str | None:
        """Return the message if a read, the buffer up to `end`, is one whole message.

        This is the fast path. None means that nothing was consumed: `feed` the same bytes.
        """
        if not self._between_messages:
            return None
        # Frame sizes rarely change within a call, and so rarely do the first bytes of a frame.
        if end != self._last_end or not buffer.startswith(self._last_start):
            if end < 6 or buffer[0] not in (_BINARY, _TEXT):
                return None
            size, payload = buffer[1] - _MASKED, 6
            if size == 126:
                size, payload = buffer[2] << 8 | buffer[3], 8
            # 127 announces a length of 64 bits; no single read holds such a frame.
            if size == 127 or end != payload + size or size > self.max_bytes:
                return None
            self._last_end, self._last_payload = end, payload
            self._last_start = bytes(buffer[: payload - 4])
            self._last_text = buffer[0] == _TEXT
        payload = self._last_payload
        message = apply_mask(buffer[payload:end], buffer[payload - 4 : payload])
        return _text(message) if self._last_text else message

    def feed(self, data: bytes) -> None:
        """Take the bytes of one read; `messages` gives what they complete."""
        if self._start == len(self._data):
            self._data, self._start = data, 0
        else:
            if isinstance(self._data, bytes) or self._start:
                self._data, self._start = bytearray(memoryview(self._data)[self._start :]), 0
            self._data += data
        self._between_messages = False
        self.more = len(self._data) >= self._needed

    def messages(self, most: int) -> list[bytes | str]:
        """Return the messages that the next frames complete, in order; look at `most` frames."""
        messages: list[bytes | str] = []
        data, start, available = self._data, self._start, len(self._data)
        self._needed = 0
        while start < available and self.ending is None and most > 0:
            payload, end = (0, available) if self._broken else self._extent(data, start)
            if end > available:
                self._needed = end - start
                break
            message: bytes | str | None = None
            if data[start] in (_BINARY, _TEXT) and self._message is None and payload:
                message = apply_mask(data[payload:end], data[payload - 4 : payload])
                if data[start] == _TEXT:
                    message = _text(message)
            if message is not None:
                messages.append(message)
            else:
                # A frame against the rules has no reliable length. The protocol gets the rest
                # of the bytes, and finds the fault.
                self._broken = not payload
                self._interpret(bytes(data[start:end]), messages)
            start = end
            most -= 1
        if self.ending is not None or start == available:
            self._data, self._start = b"", 0
        elif self._needed:
            if start or isinstance(data, bytes):
                self._data, self._start = bytearray(memoryview(data)[start:]), 0
        else:
            self._start = start
        self.more = bool(self._data) and not self._needed
        self._between_messages = not (
            self._data or self._message is not None or self.ending is not None or self._broken
        )
        return messages

    def _extent(self, data: bytes | bytearray, start: int) -> tuple[int, int]:
        """Return where the payload begins, and where the frame ends or the next look is due.

        A frame against the rules ends with the data, and its payload is nowhere (0).
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
        room = self.max_bytes
        if self._message is not None and not data[start] & _CONTROL:
            room -= len(self._message)  # so that no peer has us keep two messages
        if size > room:
            return 0, available
        return payload, payload + size

    def _interpret(self, data: bytes, messages: list[bytes | str]) -> None:
        protocol = self._speaking()
        if self._message is not None and data[0] == _CLOSE:
            # A close may stand between the fragments of a message (RFC 6455, 5.4). The protocol
            # would call that an error.
            self._message = protocol.current_size = None
        cause = self._hangup_cause(data)
        if cause is not None:
            data = _CLOSED_NORMALLY
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
            self.ending = _ending(protocol) if cause is None else completed(cause)

    def _hangup_cause(self, data: bytes) -> int | None:
        """Return the cause of a hang-up if a frame closes with one: no code of RFC 6455."""
        if not self._hangup_causes or data[0] != _CLOSE or len(data) < 8:
            return None
        cause = int.from_bytes(apply_mask(data[6:8], data[2:6]))
        return cause if cause in HANGUP_CAUSES else None

    def _complete(self, messages: list[bytes | str], protocol: ServerProtocol) -> None:
        assert self._message is not None
        content, self._message = bytes(self._message), None
        if not self._text:
            messages.append(content)
            return
        try:
            messages.append(content.decode())
        except UnicodeDecodeError:
            # The protocol leaves this check to the code that joins fragments (RFC 6455, 8.1).
            ending = rejected("invalid_text", INVALID_PAYLOAD, "a text message must be UTF-8")
            protocol.fail(INVALID_PAYLOAD, ending.reason)
            self.ending = ending

    def take_replies(self) -> bytes:
        """Return the protocol's own bytes for the peer: pongs, and its part of a close."""
        replies, self._replies = self._replies, b""
        return replies

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame for this code and reason; nothing if one was sent before."""
        protocol = self._speaking()
        if protocol.state is not OPEN:
            return b""
        # A reason must fit a control frame: 125 bytes less two of the code (RFC 6455, 5.5.1).
        protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        # From now on only the peer's own close frame counts.
        self._message, self.ending = None, None
        return b"".join(protocol.data_to_send())

    @property
    def peer_code(self) -> int | None:
        """The code of the peer's close frame, 1005 if it gave none; None while there is none."""
        received = None if self._protocol is None else self._protocol.close_rcvd
        return None if received is None else int(received.code)

    def discard(self) -> None:
        """Break the cycle protocol <-> parser, so that reference counting frees both at once."""
        if self._protocol is not None:
            self._protocol.parser.close()

    def _speaking(self) -> ServerProtocol:
        if self._protocol is None:
            self._protocol = ServerProtocol(state=OPEN, max_size=self.max_bytes)
        return self._protocol


def _text(payload: bytes) -> str | None:
    """Return a text message's content; None if it is not UTF-8, for the protocol to say so."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _ending(protocol: ServerProtocol) -> Ending:
    """Return the ending that a closed protocol tells of."""
    fault, sent, received = protocol.parser_exc, protocol.close_sent, protocol.close_rcvd
    if fault is None:
        return completed(int(received.code) if received else NO_STATUS_RECEIVED)
    assert sent is not None
    rejection: Rejection = "protocol"
    if isinstance(fault, PayloadTooBig):
        rejection = "too_large"
    elif isinstance(fault, UnicodeDecodeError):
        rejection = "invalid_text"
    return rejected(rejection, int(sent.code), sent.reason)
