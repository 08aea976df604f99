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
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
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
OPERATIONS = ("encode", "decode", "round trip")
BASELINE = "audioop"
FEWEST_ROUNDS = 3
WIDTH = 115


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
        for name, codec in self.codecs.items():
            self.rounds["encode"][name].append(timed(codec.encode, self.frames))
        for name, codec in self.codecs.items():
            self.rounds["decode"][name].append(timed(codec.decode, self.codes))
        for name, codec in self.codecs.items():
            self.rounds["round trip"][name].append(timed_round_trip(codec, self.frames))

    def seconds(self, operation: str, codec: str) -> float:
        """Return the median time of one frame."""
        return median(self.rounds[operation][codec]) / len(self.frames)

    def rate(self, operation: str, codec: str) -> float:
        """Return the samples a second."""
        return self.samples / self.seconds(operation, codec)

    def ratio(self, operation: str, codec: str) -> float | None:
        """Return the median of the rounds' times in audioop's, or None without audioop."""
        rounds = self.rounds[operation]
        if BASELINE not in rounds:
            return None
        return median(a / b for a, b in zip(rounds[codec], rounds[BASELINE], strict=True))


def signals() -> dict[str, bytes]:
    """Return the signals' PCM16, equally long: the speech sample, and seeded white noise."""
    with wave.open(str(SPEECH), "rb") as wav:
        speech = wav.readframes(wav.getnframes())
    return {"speech": speech, "noise": random.Random(711).randbytes(len(speech))}


def cut(pcm: bytes, size: int) -> list[bytes]:
    """Return all whole frames of a signal, which is repeated where one frame is longer."""
    pcm *= math.ceil(size / len(pcm))
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def timed(convert: Callable[[bytes], bytes], frames: list[bytes]) -> float:
    """Return the seconds that all frames take."""
    start = perf_counter()
    for frame in frames:
        convert(frame)
    return perf_counter() - start


def timed_round_trip(codec: Codec, frames: list[bytes]) -> float:
    """Return the seconds that all frames take to G.711 and back."""
    encode, decode = codec.encode, codec.decode
    start = perf_counter()
    for frame in frames:
        decode(encode(frame))
    return perf_counter() - start


def measure(cases: list[Case], seconds: float) -> int:
    """Measure all cases, round after round, for that long; return the number of rounds."""
    rounds, start = 0, perf_counter()
    columns = TextColumn("{task.description:29}"), BarColumn(), TextColumn("{task.percentage:.0f}%")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=seconds)
        while rounds < FEWEST_ROUNDS or perf_counter() < start + seconds:
            for case in cases:
                done = min(perf_counter() - start, seconds)
                description = f"{case.law} on {case.signal}, {case.size}"
                progress.update(task, completed=done, description=description)
                case.measure()
            rounds += 1
    return rounds


def duration(seconds: float) -> str:
    """Return a duration in microseconds, or in milliseconds from one on."""
    return f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.2f} us"


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
    for number, codec in enumerate(case.rounds["encode"]):
        cells = []
        for operation in OPERATIONS:
            ratio = case.ratio(operation, codec)
            cells.append(duration(case.seconds(operation, codec)))
            cells.append(f"{case.rate(operation, codec) / 1e6:,.0f}")
            cells.append("" if ratio is None else f"{ratio:.2f}")
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
