"""Time every codec that is here on frames of real speech and of noise.

    python benchmarks/codec_performance.py              about a minute
    python benchmarks/codec_performance.py --quick      under ten seconds; not for quoting

All frames of a case are different, for a repeated frame flatters the branch predictor. Cases
and codecs take turns, round by round. Times are medians of the rounds; a ratio is the median of
each round's own ratio to audioop, so less than 1 is faster than audioop.
"""

import argparse
import math
import platform
import random
import sys
import wave
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median

from harness.turns import in_turns
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
OPERATIONS = ("encode", "decode", "round trip")
BASELINE = "audioop"
WIDTH = 115


def works(codec: Codec, frames: list[bytes], codes: list[bytes]) -> dict[str, Callable[[], None]]:
    """Return each operation on all frames, or on all codes."""
    encode, decode = codec.encode, codec.decode

    def encode_all() -> None:
        for frame in frames:
            encode(frame)

    def decode_all() -> None:
        for code in codes:
            decode(code)

    def there_and_back() -> None:
        for frame in frames:
            decode(encode(frame))

    return dict(zip(OPERATIONS, (encode_all, decode_all, there_and_back), strict=True))


def cut(pcm: bytes, size: int) -> list[bytes]:
    """Return all whole frames of a signal, which is repeated where one frame is longer."""
    pcm *= math.ceil(size / len(pcm))
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def measured(seconds: float) -> dict[tuple[str, ...], list[float]]:
    """Return seconds a frame, round by round, by signal, law, size, codec and operation."""
    with wave.open(str(SPEECH), "rb") as wav:
        speech = wav.readframes(wav.getnframes())
    signals = {"speech": speech, "noise": random.Random(711).randbytes(len(speech))}
    jobs, counts = {}, {}
    for (signal, pcm), law, size in product(signals.items(), LAWS, SIZES):
        frames = cut(pcm, 2 * SIZES[size])
        codes = [tier(BASELINE, law).encode(frame) for frame in frames]
        for name in available():
            for operation, work in works(tier(name, law), frames, codes).items():
                jobs[signal, law, size, name, operation] = work
                counts[signal, law, size, name, operation] = len(frames)
    rounds = in_turns(jobs, seconds)
    return {case: [time / counts[case] for time in times] for case, times in rounds.items()}


def cells(samples: int, times: list[float], baseline: list[float]) -> tuple[str, str, str]:
    """Return one frame's time, the samples a second, and the median of the rounds' ratios."""
    seconds = median(times)
    time = f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.2f} us"
    ratios = [mine / its for mine, its in zip(times, baseline, strict=True)]
    return time, f"{samples / seconds / 1e6:,.0f}", f"{median(ratios):.2f}"


def main() -> None:
    """Measure all cases, then print a table for each signal and law."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under ten seconds; not for quoting")
    times = measured(4 if parser.parse_args().quick else 60)
    # A file or a pipe has no edge to wrap at.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(f"Python {platform.python_version()}, NumPy {version('numpy')}")
    console.print(f"{platform.machine()}; {len(next(iter(times.values())))} rounds")
    console.print("M/s: million samples a second. ratio: the time in audioop's, round by round.")
    for signal, law in product(("speech", "noise"), LAWS):
        table = Table("frame", "codec", title=f"{law} on {signal}", box=SIMPLE_HEAD)
        for heading in (title for name in OPERATIONS for title in (name, "M/s", "ratio")):
            table.add_column(heading, justify="right", no_wrap=True)
        for size, samples in SIZES.items():
            for name in available():
                row = [
                    cell
                    for operation in OPERATIONS
                    for cell in cells(
                        samples,
                        times[signal, law, size, name, operation],
                        times[signal, law, size, BASELINE, operation],
                    )
                ]
                table.add_row(size, name, *row)
            table.add_section()
        console.print(table)


if __name__ == "__main__":
    main()
