"""The audio of one call, without I/O: for each frame a reply, or the call's ending.

A session cannot tell which link carries it. It counts into the service's tally, and keeps of
its own only what the log line at its end says.
"""

from bisect import bisect_left
from collections.abc import Callable
from time import perf_counter
from typing import Any

from service import codec
from service.audio.encodings import BYTES_PER_SAMPLE
from service.calls.terms import Parameters
from service.ending import UNSUPPORTED_DATA, Ending, rejected, text_refused, too_large
from service.tally import Histogram, Tally

_ODD_LENGTH = rejected(
    "odd_length", UNSUPPORTED_DATA, "a PCM16 frame has two bytes a sample; this one's are odd"
)


#: A codec's one direction, and where the seconds that it takes are counted.
Conversion = tuple[Callable[[bytes], bytes], Histogram]


def _converted(frame: bytes, conversions: tuple[Conversion, ...]) -> bytes:
    for convert, seconds in conversions:
        began = perf_counter()
        frame = convert(frame)
        took = perf_counter() - began
        # As Histogram.add, without the call.
        seconds.counts[bisect_left(seconds.bounds, took)] += 1
        seconds.sum += took
    return frame


class Session:
    """The audio of one call: `receive` a frame, and once its reply is written say `replied`.

    `frames`, `bytes`, `smallest` and `largest` tell of the inbound frames (sizes in bytes).
    `trace`, if set, is called with each inbound frame's size.
    """

    __slots__ = (
        "_bucket",
        "_conversions",
        "_frame_bytes",
        "_max_frame_bytes",
        "_sample_bytes",
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

    def __init__(self, parameters: Parameters, tally: Tally, max_frame_bytes: int) -> None:
        encoding, reply = parameters.encoding, parameters.reply
        self._tally = tally
        self._max_frame_bytes = max_frame_bytes
        self._sample_bytes = BYTES_PER_SAMPLE[encoding]
        self._seconds_per_byte = 1 / (parameters.sample_rate * self._sample_bytes)
        self._frame_bytes = tally.frame_bytes[encoding]
        self._conversions: tuple[Conversion, ...] = ()
        self._tap: Conversion | None = None
        if encoding == reply == "pcm16":
            # Encode latency is known on live traffic for every tier, at no cost to the reply.
            self._tap = self._encoder(parameters.codec, "ulaw")
        elif encoding != reply:
            if encoding != "pcm16":
                self._conversions += (self._decoder(parameters.codec, encoding),)
            if reply != "pcm16":
                self._conversions += (self._encoder(parameters.codec, reply),)
        self.frames = 0
        self.bytes = 0
        self.smallest: int | None = None
        self.largest: int | None = None
        self.trace: Callable[[int], None] | None = None
        self._size = -1
        self._bucket = 0

    def _encoder(self, name: str, law: str) -> Conversion:
        return codec.tier(name, law).encode, self._tally.encode_seconds[name, law]

    def _decoder(self, name: str, law: str) -> Conversion:
        return codec.tier(name, law).decode, self._tally.decode_seconds[name, law]

    def receive(self, message: Any) -> bytes | Ending:
        """Return the reply to a message of audio, or the ending that it brings upon the call."""
        size = len(message)
        # Callers seldom change the size of their frames, and what was found out of it holds.
        if size != self._size or type(message) is not bytes:
            ending = self._look_at(message)
            if ending is not None:
                return ending
        self.frames += 1
        self.bytes += size
        histogram = self._frame_bytes
        histogram.counts[self._bucket] += 1
        histogram.sum += size
        self._tally.inbound_seconds += size * self._seconds_per_byte
        if self.trace is not None:
            self.trace(size)
        return _converted(message, self._conversions) if self._conversions else message

    def _look_at(self, message: bytes | str) -> Ending | None:
        """Return the ending that a message's kind and size bring, or take note of the size."""
        if isinstance(message, str):
            return text_refused()
        size = len(message)
        if size > self._max_frame_bytes:
            return too_large(self._max_frame_bytes)
        if size % self._sample_bytes:
            return _ODD_LENGTH
        self._size = size
        self._bucket = self._frame_bytes.bucket(size)
        self.smallest = size if self.smallest is None else min(self.smallest, size)
        self.largest = size if self.largest is None else max(self.largest, size)
        return None

    def replied(self, message: bytes, reply: bytes, seconds: float) -> None:
        """Count a reply that has been written, so many seconds after its message was read."""
        tally = self._tally
        # A reply has as many samples as its message, so as many seconds.
        tally.outbound_seconds += len(message) * self._seconds_per_byte
        turnaround = tally.turnaround_seconds
        turnaround.counts[bisect_left(turnaround.bounds, seconds)] += 1
        turnaround.sum += seconds
        if self._tap is not None and message:
            encode, spent = self._tap
            began = perf_counter()
            encode(message)
            spent.add(perf_counter() - began)
