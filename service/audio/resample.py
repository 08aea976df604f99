"""Change the sample rate of a stream of PCM16, with the same samples however it is cut.

    resampler = Resampler(24000, 8000)
    pcm = resampler.convert(frame)      # for each frame of the stream
    tail = resampler.flush()            # after the last one

The filter is a linear-phase low-pass (Kaiser's window) in polyphase form: Crochiere and Rabiner,
"Multirate Digital Signal Processing", 1983. Its coefficients are whole multiples of 2**-24, so in
float64 every product and every sum is exact. That is why neither the cut nor the processor's order
of additions can change a sample.

A frame of 20 ms is short, so the number of NumPy calls decides its cost. Blocks of consecutive
outputs are one product of two matrices: each row has the samples that a block needs, each column
the coefficients of one output. A block has the phases of a whole period if the period is short.
Else it has a part of them, and each part has a matrix of its own. `np.ndarray` makes the
overlapping rows 5 us faster than `sliding_window_view`.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy import concatenate, float64, frombuffer, matmul, maximum, minimum, ndarray, rint
from numpy.typing import NDArray

from service.audio.rates import RATES

Floats = NDArray[np.float64]

_SAMPLES = np.dtype("<i2")
_FLOAT_BYTES = 8
_LEAST, _MOST = -32768.0, 32767.0
_UNIT = 2.0**24  # of the coefficients

#: The filter reaches so many samples of the lower rate to each side, which is its latency.
REACH = 32
#: What its stop band is designed for, in dB; with the rounding, 80 are promised.
_STOP_DB = 90.0
#: Outputs of a block: fewer make more calls of a matrix product, more make wider matrices.
_LEAST_BLOCK, _MOST_BLOCK = 16, 32
#: Samples at once, in or out: BLAS would spread a larger product over threads.
_AT_ONCE = 2048


class Resampler:
    """One direction of one call: mono PCM16, little-endian, from one rate of RATES to another.

    `latency` is constant, in seconds: 32 samples of the lower rate, so 4 ms between 8 kHz and any
    higher rate, 2.9 ms with 11.025 kHz, 2 ms with 16 kHz, 1.3 ms with 24 kHz. It stands at the
    start as the filter's onset, near to silence; `flush` gives as much at the end.

    The pass band reaches to 0.8 of the lower rate's half, flat to 0.01 dB. From that half on,
    aliases and images are below -80 dB. What exceeds 16 bits is clipped.
    """

    __slots__ = ("_bank", "_fed", "_given", "_history", "latency", "source", "target")

    def __init__(self, source: int, target: int) -> None:
        """Prepare to resample; raise ValueError for rates outside RATES or two equal ones."""
        if source == target or not {source, target} <= set(RATES):
            raise ValueError(f"cannot resample {source} to {target} Hz: two of {RATES} are needed")
        self.source, self.target = source, target
        self.latency = REACH / min(source, target)
        self._bank = _bank(source, target)
        self.reset()

    def reset(self) -> None:
        """Forget what came before, as if the stream began here."""
        self._fed = self._given = 0  # samples, in and out
        self._history: Floats = np.zeros(self._bank.history)

    def convert(self, pcm: bytes | bytearray | memoryview) -> bytes:
        """Return the samples that are due now; raise ValueError for half a sample.

        After n samples in all, n * target / source have come back, rounded up. So a short frame
        may bring none.
        """
        try:
            samples = frombuffer(pcm, _SAMPLES)
        except ValueError:
            raise ValueError(f"PCM16 has two bytes a sample, not {len(pcm)} in all") from None
        most = self._bank.at_once
        if len(samples) <= most:
            return self._converted(samples)
        starts = range(0, len(samples), most)
        return b"".join(self._converted(samples[start : start + most]) for start in starts)

    def flush(self) -> bytes:
        """Return the samples that the latency has held back, and reset."""
        tail = self._converted(np.zeros(self._bank.tail, _SAMPLES)) if self._fed else b""
        self.reset()
        return tail

    def _converted(self, samples: NDArray[np.int16]) -> bytes:
        bank, given = self._bank, self._given
        size, up, down = bank.block, bank.up, bank.down
        buffer: Floats = concatenate((self._history, samples, bank.beyond))
        buffer_from = self._fed - bank.history
        self._history = buffer[len(samples) : len(samples) + bank.history]
        self._fed += len(samples)
        self._given = -(-self._fed * up // down)
        if self._given == given:
            return b""
        # Whole blocks, of which the first may be given in part and the last be due in part.
        first = given // size
        blocks = -(-self._given // size) - first
        outputs = np.empty((blocks, size))
        parts = len(bank.matrices)
        for at in range(min(parts, blocks)):
            matrix = bank.matrices[(first + at) % parts]
            start = (first + at) * size * down // up - bank.lookback - buffer_from
            shape = (blocks - at + parts - 1) // parts, len(matrix)
            offset, strides = _FLOAT_BYTES * start, (_FLOAT_BYTES * bank.stride, _FLOAT_BYTES)
            rows = ndarray(shape, float64, buffer, offset, strides)
            matmul(rows, matrix, out=outputs[at::parts])
        due = outputs.ravel()[given - first * size : self._given - first * size]
        rint(due, out=due)
        minimum(due, _MOST, out=due)
        maximum(due, _LEAST, out=due)
        return due.astype(_SAMPLES).tobytes()


@dataclass(frozen=True)
class _Bank:
    """The filter of one pair of rates, which all resamplers between them share.

    `up` / `down` is the ratio of the rates in lowest terms. `matrices` has the shape (parts,
    samples of a row, `block`); from a part's block to its next one are `stride` samples. A row
    begins `lookback` samples before its block's first output. `history` samples stay from call
    to call, and `beyond` has the zeros that the last block may reach into. `tail` is the latency in
    samples of the source.
    """

    up: int
    down: int
    block: int
    stride: int
    lookback: int
    history: int
    tail: int
    at_once: int
    beyond: Floats
    matrices: Floats


@lru_cache(None)  # of 72 pairs at most, half a megabyte each
def _bank(source: int, target: int) -> _Bank:
    common = gcd(source, target)
    up, down = target // common, source // common
    half = REACH * max(up, down)
    phases = _phases(half, max(up, down), up)
    taps = len(phases)
    block = _block(up)
    parts = max(1, up // block)
    # All times are in steps of the rate that both rates divide.
    starts = np.arange(parts) * block * down
    outputs = (starts % up)[:, None] + np.arange(block) * down
    width = taps + int(outputs.max()) // up
    row = np.arange(width)[:, None]
    steps = outputs[:, None, :] + (taps - 1 - row) * up
    inside = (steps >= 0) & (steps < phases.size)
    matrices = np.where(inside, phases.ravel()[np.where(inside, steps, 0)], 0.0)
    beyond = np.zeros(width - taps + 1)
    return _Bank(
        up=up,
        down=down,
        block=block,
        stride=parts * block * down // up,
        lookback=taps - 1,
        history=width,
        tail=-(-half // up),
        at_once=min(_AT_ONCE, _AT_ONCE * source // target),
        beyond=beyond,
        matrices=matrices,
    )


def _block(up: int) -> int:
    """Return the outputs of a block: whole periods of `up` outputs, or an equal part of one."""
    if up <= _MOST_BLOCK:
        return -(-_LEAST_BLOCK // up) * up
    return max(size for size in range(1, _MOST_BLOCK + 1) if up % size == 0)


def _phases(half: int, widest: int, up: int) -> Floats:
    """Return the coefficients of a low-pass filter, a column for each of its `up` phases.

    The filter has `half` steps to each side. Its stop band begins at half of the rate whose samples
    are `widest` steps apart. Each column's sum is 1.
    """
    # Kaiser's formulas for the window and for the width of the transition.
    beta = 0.1102 * (_STOP_DB - 8.7)
    edge = 1 - (_STOP_DB - 7.95) / (2 * 14.36 * REACH)
    step = np.arange(half + 1)
    side = np.sinc(step * edge / widest) * np.i0(beta * np.sqrt(1 - (step / half) ** 2))
    taps = 2 * half // up + 1
    columns = np.zeros((taps, up))
    columns.ravel()[: 2 * half + 1] = concatenate((side[:0:-1], side))
    columns *= _UNIT / columns.sum(0)
    rint(columns, out=columns)
    columns /= _UNIT
    return columns
