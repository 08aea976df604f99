"""The audio of one call, without I/O: for each frame a reply, or the call's ending.

A session cannot tell which link carries it. It counts into the service's tally, and keeps for
itself only the figures of the log line at its end.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

from service import codec
from service.audio.encodings import BYTES_PER_SAMPLE
from service.calls.terms import Terms
from service.conversation import Message, Mouth, Work
from service.ending import UNSUPPORTED_DATA, Ending, rejected, text_refused, too_large
from service.tally import Histogram, Tally

#: Longer frames are converted in pieces of so many bytes: with `pure_python` one takes 0.7 ms, and
#: the other calls have their turn in between.
PIECE_BYTES = 16384

_ODD_LENGTH = rejected(
    "odd_length", UNSUPPORTED_DATA, "a PCM16 frame has two bytes a sample; this one is odd"
)
_WAV_HEADER = rejected(
    "wav_header", UNSUPPORTED_DATA, "the first frame is the header of a WAV file; send samples only"
)

#: A codec's one direction, and where the seconds that it takes are counted.
Conversion = tuple[Callable[[bytes], bytes], Histogram]


def converted(frame: bytes, conversions: tuple[Conversion, ...]) -> bytes:
    """Return the frame after these conversions, whose time is counted."""
    for convert, seconds in conversions:
        began = perf_counter()
        frame = convert(frame)
        took = perf_counter() - began
        # Histogram.add inlined, here and in `replied`: the call costs 0.1 us.
        seconds.counts[bisect_left(seconds.bounds, took)] += 1
        seconds.sum += took
    return frame


class Session:
    """The audio of one call: `receive` a frame, and once its reply is written say `replied`.

    `frames`, `bytes`, `smallest` and `largest` count the inbound frames (sizes in bytes). `trace`,
    if set, is called with the size of each inbound frame.
    """

    __slots__ = (
        "_bucket",
        "_conversions",
        "_frame_bytes",
        "_greeting",
        "_long",
        "_max_frame_bytes",
        "_piece_bytes",
        "_sample_bytes",
        "_seconds",
        "_seconds_per_byte",
        "_size",
        "_tally",
        "_tap",
        "bytes",
        "frames",
        "largest",
        "smallest",
        "trace",
    )

    def __init__(
        self, terms: Terms, tally: Tally, max_frame_bytes: int, greeting: str | None = None
    ) -> None:
        encoding, reply = terms.encoding, terms.reply
        self._greeting = greeting
        self._tally = tally
        self._max_frame_bytes = max_frame_bytes
        self._piece_bytes = PIECE_BYTES
        self._sample_bytes = BYTES_PER_SAMPLE[encoding]
        self._seconds_per_byte = 1 / (terms.sample_rate * self._sample_bytes)
        self._frame_bytes = tally.frame_bytes[encoding]
        self._conversions: tuple[Conversion, ...] = ()
        self._tap: Conversion | None = None
        if encoding == reply == "pcm16":
            # So the encode latency of each tier is known on live traffic.
            self._tap = self._encoder(terms.codec, "ulaw")
        elif encoding != reply:
            if encoding != "pcm16":
                self._conversions += (self._decoder(terms.codec, encoding),)
            if reply != "pcm16":
                self._conversions += (self._encoder(terms.codec, reply),)
        self.frames = 0
        self.bytes = 0
        self.smallest: int | None = None
        self.largest: int | None = None
        self.trace: Callable[[int], None] | None = None
        self._size = -1  # of the last frame,
        self._bucket = 0  # its bucket,
        self._seconds = 0.0  # how long it plays,
        self._long = False  # and whether it is converted in pieces

    def begin(self, mouth: Mouth) -> None:
        """Say the greeting, if there is one."""
        if self._greeting is not None:
            mouth.say(self._greeting)

    def _encoder(self, name: str, law: str) -> Conversion:
        return codec.tier(name, law).encode, self._tally.encode_seconds[name, law]

    def _decoder(self, name: str, law: str) -> Conversion:
        return codec.tier(name, law).decode, self._tally.decode_seconds[name, law]

    def receive(self, message: Any) -> bytes | Ending | Work:
        """Return the reply to a frame, the ending that it brings, or long work in pieces."""
        size = len(message)
        # Frame sizes rarely change within a call: reuse the last frame's checks and bucket.
        if size != self._size or type(message) is not bytes:
            ending = self._look_at(message)
            if ending is not None:
                return ending
        self.frames += 1
        self.bytes += size
        histogram = self._frame_bytes
        histogram.counts[self._bucket] += 1
        histogram.sum += size
        self._tally.inbound_seconds += self._seconds
        if self.trace is not None:
            self.trace(size)
        if self._long:
            return self._in_pieces(message)
        return converted(message, self._conversions) if self._conversions else message

    def _look_at(self, message: bytes | str) -> Ending | None:
        """Check a message's kind and size; return the ending that a bad one brings."""
        if isinstance(message, str):
            return text_refused()
        size = len(message)
        if size > self._max_frame_bytes:
            return too_large(self._max_frame_bytes)
        if size % self._sample_bytes:
            return _ODD_LENGTH
        if not self.frames and message.startswith(b"RIFF"):
            return _WAV_HEADER
        self._size = size
        self._bucket = self._frame_bytes.bucket(size)
        self._seconds = size * self._seconds_per_byte
        self._long = size > self._piece_bytes and (bool(self._conversions) or self._tap is not None)
        self.smallest = size if self.smallest is None else min(self.smallest, size)
        self.largest = size if self.largest is None else max(self.largest, size)
        return None

    def _in_pieces(self, message: bytes) -> Generator[None, None, bytes]:
        """Convert a long frame; its reply waits for the tap too, which is a long one here."""
        size = self._piece_bytes
        pieces = [message[start : start + size] for start in range(0, len(message), size)]
        for convert, seconds in self._conversions or [self._tap]:  # type: ignore[misc]
            took = 0.0
            for number, piece in enumerate(pieces):
                began = perf_counter()
                pieces[number] = convert(piece)
                took += perf_counter() - began
                yield
            seconds.add(took)
        return b"".join(pieces) if self._conversions else message

    def unanswered(self) -> None:
        """Take note that the last reply, which is empty, is not sent."""

    def replied(self, message: Message, seconds: float) -> None:
        """Count a reply that was written so many seconds after its message was read."""
        tally = self._tally
        # A reply has as many samples as its message, so as many seconds.
        size = len(message)
        tally.outbound_seconds += size * self._seconds_per_byte
        turnaround = tally.turnaround_seconds
        turnaround.counts[bisect_left(turnaround.bounds, seconds)] += 1
        turnaround.sum += seconds
        if self._tap is not None and 0 < size <= PIECE_BYTES:
            encode, spent = self._tap
            began = perf_counter()
            encode(message)  # type: ignore[arg-type]  # no text message has a reply
            took = perf_counter() - began
            spent.counts[bisect_left(spent.bounds, took)] += 1
            spent.sum += took


def session_for(terms: Terms) -> type[Session]:
    """Return the kind of session that answers on these terms."""
    if terms.reply_rate == terms.sample_rate:
        return Session
    # An interpreter without NumPy carries all other calls.
    from service.calls.resampling import ResamplingSession

    return ResamplingSession
