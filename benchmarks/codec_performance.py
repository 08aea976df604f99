"""Time every codec that is here on frames of real speech and of noise.

All frames of a case are different, for a repeated frame flatters the branch predictor. Cases
and codecs take turns, round by round. Times are medians of the rounds; a ratio is the median of
each round's own ratio to audioop, so less than 1 is faster than audioop.
"""

import argparse
import platform
import random
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from statistics import median

from harness.turns import each, frames, in_turns, ratio, speech
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.codec import LAWS, available, tier

#: Samples a frame; a minute is at 8 kHz.
SIZES = {
    "20 ms, 8 kHz": 160,
    "20 ms, 16 kHz": 320,
    "20 ms, 48 kHz": 960,
    "1 s": 8000,
    "60 s": 480_000,
}
BASELINE = "audioop"


def measured(seconds: float) -> dict[tuple[str, ...], list[float]]:
    """Return seconds a frame, round by round, by signal, law, size, codec and operation."""
    pcm = speech()
    signals = {"speech": pcm, "noise": random.Random(711).randbytes(len(pcm))}
    works: dict[tuple[str, ...], Callable[[], None]] = {}
    counts: dict[tuple[str, ...], int] = {}
    for signal, law, size, name in product(signals, LAWS, SIZES, available()):
        # Four times the signal, so that it has a minute.
        sounds = frames(signals[signal] * (4 if size == "60 s" else 1), 2 * SIZES[size])
        codec, codes = tier(name, law), [tier(BASELINE, law).encode(sound) for sound in sounds]
        works[signal, law, size, name, "encode"] = each(codec.encode, sounds)
        works[signal, law, size, name, "decode"] = each(codec.decode, codes)
        counts[signal, law, size] = len(sounds)
    rounds = in_turns(works, seconds)
    return {case: [time / counts[case[:3]] for time in times] for case, times in rounds.items()}


def shown(seconds: float) -> str:
    """Return a frame's time in the unit that suits it."""
    return f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.2f} us"


def main() -> None:
    """Measure all cases, then print a table for each signal and law."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under ten seconds; not for quoting")
    times = measured(4 if parser.parse_args().quick else 60)
    console = Console()
    console.print(f"Python {platform.python_version()}, NumPy {version('numpy')}")
    console.print(f"{platform.machine()}; {len(next(iter(times.values())))} rounds")
    console.print("ratio: the time in audioop's, round by round.")
    for signal, law in product(("speech", "noise"), LAWS):
        table = Table("frame", "codec", title=f"{law} on {signal}", box=SIMPLE_HEAD)
        for heading in ("encode", "ratio", "decode", "ratio"):
            table.add_column(heading, justify="right")
        for size in SIZES:
            for name in available():
                cells = []
                for operation in ("encode", "decode"):
                    mine = times[signal, law, size, name, operation]
                    its = times[signal, law, size, BASELINE, operation]
                    cells += [shown(median(mine)), f"{ratio(mine, its):.2f}"]
                table.add_row(size, name, *cells)
            table.add_section()
        console.print(table)


if __name__ == "__main__":
    main()
