"""One call, without I/O: its parameters, and for each frame a reply or the call's ending.

A session cannot tell which link carries it. It counts into the service's tally, and keeps of
its own only what the log line at its end says.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self

from service import codec
from service.ending import UNSUPPORTED_DATA, Ending, rejected, text_refused, too_large
from service.tally import Histogram, Tally

#: What callers say, and which encoding each name is (RFC 3551, RFC 4856, and common use).
ENCODING_NAMES = {
    "pcm16": "pcm16", "linear16": "pcm16", "l16": "pcm16",
    "ulaw": "ulaw", "mulaw": "ulaw", "pcmu": "ulaw", "g711_ulaw": "ulaw",
    "alaw": "alaw", "pcma": "alaw", "g711_alaw": "alaw",
}  # fmt: skip
BYTES_PER_SAMPLE = {"pcm16": 2, "ulaw": 1, "alaw": 1}
SAMPLE_RATES = range(1, 192_001)

_ODD_LENGTH = rejected(
    "odd_length", UNSUPPORTED_DATA, "a PCM16 frame has two bytes a sample; this one's are odd"
)


class BadParameter(Exception):  # noqa: N818
    """A query parameter has a value that is not allowed."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        super().__init__(f"{parameter}={value}: must be {allowed}")
        self.parameter, self.value, self.allowed = parameter, value, allowed


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a caller gets: a codec tier, encodings by their own name, samples a second."""

    codec: str
    encoding: str
    reply: str
    sample_rate: int

    @classmethod
    def parse(cls, query: Mapping[str, str], codec_order: Sequence[str]) -> Self:
        """Return the parameters that a query string gives; raise BadParameter.

        Names of encodings and codecs may be in any case. An unknown or unavailable codec gets
        the best of `codec_order`.
        """
        encoding = _encoding(query, "encoding", "pcm16")
        return cls(
            codec=codec.resolve(query.get("codec", "").lower(), codec_order),
            encoding=encoding,
            reply=_encoding(query, "reply", encoding),
            sample_rate=_sample_rate(query.get("sample_rate", "8000")),
        )


def _encoding(query: Mapping[str, str], parameter: str, default: str) -> str:
    value = query.get(parameter, default)
    try:
        return ENCODING_NAMES[value.lower()]
    except KeyError:
        raise BadParameter(parameter, value, "one of " + ", ".join(ENCODING_NAMES)) from None


def _sample_rate(value: str) -> int:
    # int() would take signs, spaces, underscores and other scripts' digits, and any length.
    if value.isascii() and value.isdigit() and len(value) <= 9 and int(value) in SAMPLE_RATES:
        return int(value)
    raise BadParameter(
        "sample_rate", value, f"a whole number from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
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
