"""Compare resamplers on a call's frames of 20 ms: latency, bursts, aliases and time.

latency     from a sample in to its place in the output, in ms: the filter's own shift, and what
            the resampler still holds back; the least and the most over the calls of a second
samples     that come back for a frame; "empty" is the share of calls that return nothing
alias       down to 8 kHz: what a tone of 6 kHz leaves there; up: all that is not the tone of
            3 kHz, its images above all. In dB of the tone, and -120 where nothing is left
at 3.2 kHz  the gain there, in dB
us          the median time of a frame over all rounds, in which the resamplers take turns; in
            brackets how many times this service's, the median of each round's own ratio
"""

import argparse
import platform
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import samplerate
import soxr
from harness.turns import compared, frames
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.audio.resample import Resampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

Lines = NDArray[np.complex128]
Counts = NDArray[np.int64]
Convert = Callable[[bytes], bytes]

PAIRS = ((8000, 16000), (16000, 8000), (24000, 8000), (48000, 8000), (44100, 8000), (8000, 48000))
FRAMES_A_SECOND = 50
AMPLITUDE = 30000.0


def by_soxr(quality: str, source: int, target: int) -> Convert:
    """Return libsoxr's at one of its qualities."""
    stream = soxr.ResampleStream(source, target, 1, dtype="int16", quality=quality)
    return lambda pcm: bytes(stream.resample_chunk(np.frombuffer(pcm, "<i2")).tobytes())


def by_samplerate(quality: str, source: int, target: int) -> Convert:
    """Return libsamplerate's at one of its qualities, which works in float32."""
    stream, factor = samplerate.Resampler(quality, channels=1), target / source

    def convert(pcm: bytes) -> bytes:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        back = np.rint(stream.process(samples, factor))
        return bytes(np.clip(back, -32768, 32767).astype("<i2").tobytes())

    return convert


def by_audioop(source: int, target: int) -> Convert:
    """Return the one of the standard library, which has no filter."""
    state = None

    def convert(pcm: bytes) -> bytes:
        nonlocal state
        back, state = audioop.ratecv(pcm, 2, 1, source, target, state)
        return bytes(back)

    return convert


MAKERS: dict[str, Callable[[int, int], Convert]] = {
    "this service": lambda source, target: Resampler(source, target).convert,
    "soxr HQ": partial(by_soxr, "HQ"),
    "soxr LQ": partial(by_soxr, "LQ"),
    "soxr QQ": partial(by_soxr, "QQ"),
    "samplerate fastest": partial(by_samplerate, "sinc_fastest"),
    "samplerate medium": partial(by_samplerate, "sinc_medium"),
    "audioop.ratecv": by_audioop,
}


def cut(pcm: bytes, rate: int) -> list[bytes]:
    """Return a sound's frames of 20 ms."""
    return frames(pcm, 2 * rate // FRAMES_A_SECOND)


def tone(frequency: int, convert: Convert, source: int, target: int) -> tuple[Lines, Counts]:
    """Convert two seconds of a tone; return the last second's spectrum, and each call's samples.

    A second's spectrum has a line for each whole hertz; the tone itself has an amplitude of 1.
    """
    times = np.arange(2 * source) / source
    sound = np.rint(AMPLITUDE * np.sin(2 * np.pi * frequency * times)).astype("<i2").tobytes()
    replies = [np.frombuffer(convert(frame), "<i2") for frame in cut(sound, source)]
    back = np.concatenate(replies)[-target:]
    counts = np.array([len(reply) for reply in replies])
    return np.fft.rfft(back) / (AMPLITUDE * target / 2), counts


def decibels(amplitude: float) -> str:
    """Return an amplitude in dB."""
    return f"{round(20 * np.log10(max(amplitude, 1e-6)), 2) + 0.0:.2f}"  # no -0.00


def quality(name: str, source: int, target: int) -> list[str]:
    """Return what is shown of a resampler, but for its time."""

    def heard(frequency: int) -> tuple[Lines, Counts]:
        return tone(frequency, MAKERS[name](source, target), source, target)

    slow = 20  # so slow that its phase tells the shift of any filter here
    lines, counts = heard(slow)
    turns = slow * (counts.sum() / target - 1)  # of the tone, before the last second
    shift = np.angle(1j * lines[slow] * np.exp(-2j * np.pi * turns)) / (2 * np.pi * slow)
    fed = np.arange(1, len(counts) + 1) / FRAMES_A_SECOND
    late = 1000 * (fed - np.cumsum(counts) / target - shift)[FRAMES_A_SECOND:]
    counts = counts[FRAMES_A_SECOND:]
    empty = np.mean(counts == 0)
    samples = f"{counts.min()}" if np.ptp(counts) == 0 else f"{counts.min()}..{counts.max()}"
    test = 6000 if source > target else 3000
    rest, _ = heard(test)
    rest[test : test + 1] = 0
    return [
        f"{late.min():.1f}" if np.ptp(late) < 0.15 else f"{late.min():.1f}..{late.max():.1f}",
        samples + (f", {empty:.0%} empty" if empty else ""),
        decibels(float(np.linalg.norm(rest))),
        decibels(abs(heard(3200)[0][3200])),
    ]


def main() -> None:
    """Measure each pair of rates, and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds; not for quoting")
    seconds = 0.2 if parser.parse_args().quick else 2
    console = Console(width=110)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "soxr", "samplerate"))
    console.print(f"Python {platform.python_version()}, {packages}, {platform.machine()}")
    for source, target in PAIRS:
        columns = ("resampler", "latency, ms", "samples", "alias, dB", "at 3.2 kHz", "us a frame")
        table = Table(*columns, title=f"{source} to {target} Hz", box=SIMPLE_HEAD)
        noise = np.random.default_rng(711).integers(-30000, 30000, source, np.int16).tobytes()
        sound = cut(noise, source)
        works = {name: (make(source, target), sound) for name, make in MAKERS.items()}
        for name, (us, ratio) in compared(works, seconds).items():
            table.add_row(name, *quality(name, source, target), f"{us:.1f} ({ratio:.1f}x)")
        console.print(table)


if __name__ == "__main__":
    main()
