"""The G.711 laws, as rules that build tables; and the pure-Python tier.

A companding law is two tables: from each of 65,536 samples to a byte, and from each of 256 bytes
to a sample. Every tier but audioop uses these tables, so they cannot disagree.

The rules follow ITU-T G.191's reference tool to the bit. The tool takes the one's complement of a
negative sample. So -1 and 0 differ in sign only.
"""

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from struct import Struct

# 14-bit mu-law adds this bias so that every segment's bounds are powers of two (G.711, table 2a).
_MULAW_BIAS = 33
_MULAW_LARGEST = 0x1FFF


def _mulaw_compress(sample: int) -> int:
    """Return the mu-law code of one 16-bit sample; the two lowest bits do not count."""
    magnitude = (sample if sample >= 0 else ~sample) >> 2
    biased = min(magnitude + _MULAW_BIAS, _MULAW_LARGEST)
    segment = biased.bit_length() - 6
    interval = (biased >> (segment + 1)) & 0x0F
    sign = 0x80 if sample >= 0 else 0
    # Codes travel inverted, so that silence is a line full of ones (G.711, 3.2).
    return sign | (~(segment << 4 | interval) & 0x7F)


def _mulaw_expand(code: int) -> int:
    """Return the 16-bit sample in the middle of a mu-law code's interval."""
    segment, interval = (~code >> 4) & 0x07, ~code & 0x0F
    magnitude = ((2 * interval + _MULAW_BIAS) << segment) - _MULAW_BIAS
    return (magnitude if code & 0x80 else -magnitude) << 2


def _alaw_compress(sample: int) -> int:
    """Return the A-law code of one 16-bit sample; the four lowest bits do not count."""
    magnitude = (sample if sample >= 0 else ~sample) >> 4
    segment = max(magnitude.bit_length() - 4, 0)
    interval = (magnitude >> max(segment - 1, 0)) & 0x0F
    sign = 0x80 if sample >= 0 else 0
    # Every even bit travels inverted (G.711, 3.2).
    return (sign | segment << 4 | interval) ^ 0x55


def _alaw_expand(code: int) -> int:
    """Return the 16-bit sample in the middle of an A-law code's interval."""
    segment, interval = ((code ^ 0x55) >> 4) & 0x07, (code ^ 0x55) & 0x0F
    # Segments 0 and 1 are one straight line; segments from 1 on have an implied leading one.
    leading = 0x10 if segment else 0
    magnitude = (2 * (leading | interval) + 1) << max(segment - 1, 0)
    return (magnitude if code & 0x80 else -magnitude) << 3


class Law:
    """One companding law: two tables, built by its two rules.

    `codes` maps a sample, read as an unsigned 16-bit number, to its code byte (65,536 bytes).
    `samples` maps a code byte to its sample (256 integers, -32768 to 32767).
    """

    def __init__(
        self, name: str, compress: Callable[[int], int], expand: Callable[[int], int]
    ) -> None:
        self.name = name
        self.codes = bytes(compress(sample) for sample in (*range(32768), *range(-32768, 0)))
        self.samples = tuple(expand(code) for code in range(256))


ULAW = Law("ulaw", _mulaw_compress, _mulaw_expand)
ALAW = Law("alaw", _alaw_compress, _alaw_expand)


def as_bytes(data: object) -> bytes:
    """Return the content of a bytes-like object as bytes; raise TypeError for other objects."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes, bytearray or memoryview, not {type(data).__name__}")
    return bytes(data)


def odd_length(pcm: bytes) -> ValueError:
    """Return the ValueError for bytes that end in half a 16-bit sample."""
    return ValueError(f"PCM16 needs two bytes a sample, so {len(pcm)} bytes cannot be right")


# So many samples are encoded at a time: longer tuples do not fit the processor's cache.
_PIECE = 4096


@lru_cache(maxsize=256)
def _unpacker(count: int) -> Callable[[bytes], tuple[int, ...]]:
    """Return the function that unpacks so many unsigned samples; frame sizes rarely change."""
    return Struct(f"<{count}H").unpack


class PurePython:
    """The tier that needs only Python: the tables, and built-in functions that loop in C."""

    name = "pure_python"

    def __init__(self, law: Law) -> None:
        self.law = law.name
        self._codes = law.codes
        # Two byte-to-byte translations, one for each half of a sample.
        little_endian = b"".join(s.to_bytes(2, "little", signed=True) for s in law.samples)
        self._low, self._high = little_endian[0::2], little_endian[1::2]

    def encode(self, pcm: bytes | bytearray | memoryview) -> bytes:
        if type(pcm) is not bytes:
            pcm = as_bytes(pcm)
        if len(pcm) % 2:
            raise odd_length(pcm)
        count = len(pcm) // 2
        if count > _PIECE:
            starts = range(0, len(pcm), 2 * _PIECE)
            return b"".join([self.encode(pcm[i : i + 2 * _PIECE]) for i in starts])
        samples = _unpacker(count)(pcm)
        if count < 2:  # itemgetter returns a single item bare, and refuses none
            return bytes([self._codes[sample] for sample in samples])
        # Half the time of bytes(map(...)); bytearray takes a tuple faster than bytes does.
        return bytes(bytearray(itemgetter(*samples)(self._codes)))

    def decode(self, g711: bytes | bytearray | memoryview) -> bytes:
        codes = g711 if type(g711) is bytes else as_bytes(g711)
        pcm = bytearray(2 * len(codes))
        pcm[0::2] = codes.translate(self._low)
        pcm[1::2] = codes.translate(self._high)
        return bytes(pcm)
