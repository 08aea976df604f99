"""Time every codec that is here on frames of real speech and of noise.

All frames of a case are different, for a repeated frame flatters the branch predictor. Codecs
take turns, round by round. Times are medians of the rounds; a ratio is the median of each round's
own ratio to audioop, so less than 1 is faster than audioop.
"""

import argparse
import platform
import random
from importlib.metadata import version
from itertools import product

from harness.turns import compared, frames, speech
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


def main() -> None:
    """Measure all cases, then print a table for each signal and law."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under ten seconds; not for quoting")
    seconds = 0.1 if parser.parse_args().quick else 1.5
    pcm = speech()
    signals = {"speech": pcm, "noise": random.Random(711).randbytes(len(pcm))}
    console = Console()
    console.print(f"Python {platform.python_version()}, NumPy {version('numpy')}")
    console.print(f"{platform.machine()}; ratio: the time in audioop's")
    for signal, law in product(signals, LAWS):
        table = Table("frame", "codec", title=f"{law} on {signal}", box=SIMPLE_HEAD)
        for heading in ("encode, us", "ratio", "decode, us", "ratio"):
            table.add_column(heading, justify="right")
        codecs = [tier(name, law) for name in available()]
        for size, samples in SIZES.items():
            # Four times the signal, so that it has a minute.
            sounds = frames(signals[signal] * (4 if size == "60 s" else 1), 2 * samples)
            codes = [codecs[0].encode(sound) for sound in sounds]
            encode = compared({codec.name: (codec.encode, sounds) for codec in codecs}, seconds)
            decode = compared({codec.name: (codec.decode, codes) for codec in codecs}, seconds)
            for name in encode:
                times = (*encode[name], *decode[name])
                table.add_row(size, name, *(f"{time:,.2f}" for time in times))
            table.add_section()
        console.print(table)


if __name__ == "__main__":
    main()
