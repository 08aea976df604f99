"""The NumPy tier: the law's tables, a whole frame for each look-up.

The forms below were the fastest of several (Python 3.11 to 3.13, NumPy 2.4 and 2.5). A frame of
20 ms is short, so fixed costs decide. `astype` makes the indexes native before the look-up.
`frombuffer` is imported by name, because Python does not cache attributes of a module that has its
own `__getattr__`. Long audio depends on the look-up itself. `take` with `mode="clip"` is fast in
each of these builds, though no index is out of range. In pieces, the 8-byte indexes stay in the
processor's cache.
"""

from typing import Any

import numpy as np
from numpy import frombuffer
from numpy.typing import NDArray

from service.codec.tables import Law, as_bytes, odd_length

_UNSIGNED_SAMPLES = np.dtype("<u2")
_SAMPLES = np.dtype("<i2")
_CODES = np.dtype("u1")
_INDEXES = np.dtype(np.intp)

# In samples: up to where the short form is faster, and the size of a piece in the long form.
_SHORT = 1024
_PIECE = 65536


class Numpy:
    """The tier that looks up all samples of a frame at once."""

    name = "numpy"

    def __init__(self, law: Law) -> None:
        self.law = law.name
        self._codes = frombuffer(law.codes, _CODES)
        self._samples = np.array(law.samples, _SAMPLES)

    def encode(self, pcm: bytes | bytearray | memoryview) -> bytes:
        if type(pcm) is not bytes:
            pcm = as_bytes(pcm)
        try:
            samples = frombuffer(pcm, _UNSIGNED_SAMPLES)
        except ValueError:
            raise odd_length(pcm) from None
        if len(samples) > _SHORT:
            return _taken(self._codes, samples)
        return self._codes[samples.astype(_INDEXES)].tobytes()

    def decode(self, g711: bytes | bytearray | memoryview) -> bytes:
        if type(g711) is not bytes:
            g711 = as_bytes(g711)
        codes = frombuffer(g711, _CODES)
        if len(codes) > _SHORT:
            return _taken(self._samples, codes)
        return self._samples[codes.astype(_INDEXES)].tobytes()


def _taken(table: NDArray[Any], keys: NDArray[Any]) -> bytes:
    """Return the bytes of a table's entries for many keys."""
    # A fifth faster than an empty array, whose pages are all new.
    buffer = bytearray(len(keys) * table.itemsize)
    entries = frombuffer(buffer, table.dtype)
    for start in range(0, len(keys), _PIECE):
        piece = slice(start, start + _PIECE)
        table.take(keys[piece], out=entries[piece], mode="clip")
    return bytes(buffer)
