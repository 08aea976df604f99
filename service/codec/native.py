"""The audioop tier: C from the standard library, or from audioop-lts since Python 3.13.

Its mu-law encoder differs from ITU-T G.191 at 508 negative inputs, by one quantization step each.
It drops the two lowest bits of a negative sample first and then takes the magnitude; G.191 takes
the magnitude first. So -1 to -4 are silence in G.191 and one step beside silence here. The other
three directions are equal to G.191's to the bit.
"""

import sys
import warnings

from service.codec.tables import Law, as_bytes, odd_length

if sys.byteorder != "little":
    raise ImportError("audioop reads samples in the machine's byte order; PCM16 is little-endian")

with warnings.catch_warnings():
    # Python 3.13 removed it; audioop-lts brings it back.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_WIDTH = 2  # bytes a sample


class Audioop:
    """The tier that calls audioop; it uses no tables."""

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
