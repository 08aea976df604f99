"""Time every codec that is here on frames of real speech and of noise.

    python benchmarks/codec_performance.py              about a minute
    python benchmarks/codec_performance.py --quick      under ten seconds; not for quoting

All frames of a case are different, for a repeated frame flatters the branch predictor. Cases
and codecs take turns, round by round, so that a noisy moment of the machine meets all of them.
Times are medians of the rounds; a ratio is the median of each round's own ratio to audioop, so
less than 1 is faster than audioop.
"""

import argparse
import math
import platform
import random
import sys
import wave
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.codec import LAWS, Codec, available, tier

SPEECH = Path(__file__).parents[1] / "tests" / "data" / "speech.wav"
#: Samples a frame; a minute is at 8 kHz.
SIZES = {
    "20 ms, 8 kHz": 160,
    "20 ms, 16 kHz": 320,
    "20 ms, 48 kHz": 960,
    "1 s": 8000,
    "60 s": 480_000,
}
BASELINE = "audioop"
FEWEST_ROUNDS = 3
WIDTH = 115


def encode(codec: Codec, frames: list[bytes], codes: list[bytes]) -> None:
    """Encode every frame."""
    convert = codec.encode
    for frame in frames:
        convert(frame)


def decode(codec: Codec, frames: list[bytes], codes: list[bytes]) -> None:
    """Decode every frame's codes."""
    convert = codec.decode
    for code in codes:
        convert(code)


def round_trip(codec: Codec, frames: list[bytes], codes: list[bytes]) -> None:
    """Encode every frame and decode it again."""
    there, back = codec.encode, codec.decode
    for frame in frames:
        back(there(frame))


OPERATIONS = {"encode": encode, "decode": decode, "round trip": round_trip}


class Case:
    """One signal, law and frame size, with what was measured so far."""

    def __init__(self, signal: str, law: str, size: str, pcm: bytes) -> None:
        self.signal, self.law, self.size = signal, law, size
        self.samples = SIZES[size]
        self.codecs = {name: tier(name, law) for name in available()}
        self.frames = cut(pcm, 2 * self.samples)
        # Every tier decodes the same codes.
        first = next(iter(self.codecs.values()))
        self.codes = [first.encode(frame) for frame in self.frames]
        #: Seconds for all frames, round by round.
        self.rounds: dict[str, dict[str, list[float]]] = {
            operation: {name: [] for name in self.codecs} for operation in OPERATIONS
        }

    def measure(self) -> None:
        """Add one round, in which the codecs take turns at each operation."""
        for operation, run in OPERATIONS.items():
            for name, codec in self.codecs.items():
                began = perf_counter()
                run(codec, self.frames, self.codes)
                self.rounds[operation][name].append(perf_counter() - began)

    def cells(self, operation: str, codec: str) -> tuple[str, str, str]:
        """Return one frame's time, the samples a second, and the median of the rounds' ratios."""
        rounds = self.rounds[operation]
        seconds = median(rounds[codec]) / len(self.frames)
        time = f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.2f} us"
        rate = f"{self.samples / seconds / 1e6:,.0f}"
        if BASELINE not in rounds:
            return time, rate, ""
        ratio = median(a / b for a, b in zip(rounds[codec], rounds[BASELINE], strict=True))
        return time, rate, f"{ratio:.2f}"


def signals() -> dict[str, bytes]:
    """Return the signals' PCM16, equally long: the speech sample, and seeded white noise."""
    with wave.open(str(SPEECH), "rb") as wav:
        speech = wav.readframes(wav.getnframes())
    return {"speech": speech, "noise": random.Random(711).randbytes(len(speech))}


def cut(pcm: bytes, size: int) -> list[bytes]:
    """Return all whole frames of a signal, which is repeated where one frame is longer."""
    pcm *= math.ceil(size / len(pcm))
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def measure(cases: list[Case], seconds: float) -> int:
    """Measure all cases, round after round, for that long; return the number of rounds."""
    rounds, began = 0, perf_counter()
    while rounds < FEWEST_ROUNDS or perf_counter() < began + seconds:
        for case in cases:
            case.measure()
        rounds += 1
    return rounds


def tables(cases: list[Case]) -> Iterator[Table]:
    """Yield a table for each signal and law."""
    for signal, law in dict.fromkeys((case.signal, case.law) for case in cases):
        table = Table("frame", "codec", title=f"{law} on {signal}", box=SIMPLE_HEAD)
        for operation in OPERATIONS:
            for heading in (operation, "M/s", "ratio"):
                table.add_column(heading, justify="right", no_wrap=True)
        for case in cases:
            if (case.signal, case.law) == (signal, law):
                add_rows(table, case)
        yield table


def add_rows(table: Table, case: Case) -> None:
    """Add a case to its table, a row for each codec."""
    for number, codec in enumerate(case.codecs):
        cells = [cell for operation in OPERATIONS for cell in case.cells(operation, codec)]
        table.add_row("" if number else case.size, codec, *cells)
    table.add_section()


def main() -> None:
    """Measure all cases, then print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under ten seconds; not for quoting")
    quick = parser.parse_args().quick
    cases = [
        Case(signal, law, size, pcm)
        for signal, pcm in signals().items()
        for law in LAWS
        for size in SIZES
    ]
    rounds = measure(cases, 4 if quick else 60)
    # A file or a pipe has no edge to wrap at.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    numpy = f", NumPy {version('numpy')}" if "numpy" in available() else ""
    console.print(
        f"Python {platform.python_version()}{numpy}, {platform.machine()}; {rounds} rounds"
    )
    console.print("M/s: million samples a second. ratio: the time in audioop's, round by round.")
    for table in tables(cases):
        console.print(table)


if __name__ == "__main__":
    main()
