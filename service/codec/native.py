"""The audioop tier: C from the standard library, or from audioop-lts since Python 3.13.

Its mu-law encoder differs from ITU-T G.191 at 508 negative inputs, by one quantization step
each: it takes the magnitude of a negative sample after dropping the two lowest bits, G.191
before, so -1 to -4 become a step away from silence where G.191 gives silence. Its other three
directions are G.191's to the bit.
"""

import sys
import warnings

from service.codec.tables import Law, as_bytes, odd_length

if sys.byteorder != "little":
    raise ImportError("audioop reads samples in the machine's byte order; PCM16 is little-endian")

with warnings.catch_warnings():
    # Its removal in 3.13 is what audioop-lts is for.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_WIDTH = 2  # bytes a sample


class Audioop:
    """The tier that calls audioop; the tables are not used."""

    name = "audioop"

    def __init__(self, law: Law) -> None:
        self.law = law.name
        self._encode = {"ulaw": audioop.lin2ulaw, "alaw": audioop.lin2alaw}[law.name]
        self._decode = {"ulaw": audioop.ulaw2lin, "alaw": audioop.alaw2lin}[law.name]

    def encode(self, pcm: bytes | bytearray | memoryview) -> bytes:
        if type(pcm) is not bytes:
            pcm = as_bytes(pcm)
        try:
            return self._encode(pcm, _WIDTH)
        except audioop.error:
            raise odd_length(pcm) from None

    def decode(self, g711: bytes | bytearray | memoryview) -> bytes:
        if type(g711) is not bytes:
            g711 = as_bytes(g711)
        return self._decode(g711, _WIDTH)
