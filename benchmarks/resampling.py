"""Compare resamplers on a call's frames of 20 ms: latency, bursts, aliases and time.

    python benchmarks/resampling.py             about fifteen seconds
    python benchmarks/resampling.py --quick     a few seconds; not for quoting

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
from statistics import median

import numpy as np
import samplerate
import soxr
from harness.turns import in_turns
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from service.audio.resample import Resampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

Signal = NDArray[np.float64]
Convert = Callable[[bytes], bytes]

PAIRS = ((8000, 16000), (16000, 8000), (24000, 8000), (48000, 8000), (44100, 8000), (8000, 48000))
FRAMES_A_SECOND = 50
AND_BACK = "this service, and back"
AMPLITUDE = 30000.0


def by_soxr(quality: str, source: int, target: int) -> Convert:
    """Return libsoxr's at one of its qualities."""
    stream = soxr.ResampleStream(source, target, 1, dtype="int16", quality=quality)

    def convert(pcm: bytes) -> bytes:
        back: bytes = stream.resample_chunk(np.frombuffer(pcm, "<i2")).tobytes()
        return back

    return convert


def by_samplerate(quality: str, source: int, target: int) -> Convert:
    """Return libsamplerate's at one of its qualities, which works in float32."""
    stream, ratio = samplerate.Resampler(quality, channels=1), target / source

    def convert(pcm: bytes) -> bytes:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        back: Signal = np.rint(stream.process(samples, ratio))
        return np.clip(back, -32768, 32767).astype("<i2").tobytes()

    return convert


def by_audioop(source: int, target: int) -> Convert:
    """Return the one of the standard library, which has no filter."""
    state = None

    def convert(pcm: bytes) -> bytes:
        nonlocal state
        back: bytes
        back, state = audioop.ratecv(pcm, 2, 1, source, target, state)
        return back

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


def frames(frequency: float, rate: int, seconds: float = 2) -> list[bytes]:
    """Return a tone in frames of 20 ms."""
    times = np.arange(round(seconds * rate)) / rate
    pcm = np.rint(AMPLITUDE * np.sin(2 * np.pi * frequency * times)).astype("<i2").tobytes()
    size = 2 * rate // FRAMES_A_SECOND
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def answered(convert: Convert, sound: list[bytes]) -> tuple[Signal, Signal]:
    """Return the output, and how many samples came back for each frame."""
    replies = [convert(frame) for frame in sound]
    counts = np.array([len(reply) // 2 for reply in replies], float)
    return np.frombuffer(b"".join(replies), "<i2").astype(float), counts


def fitted(back: Signal, frequency: float, rate: int) -> tuple[complex, float]:
    """Return the tone in a signal, as amplitude and phase, and the mean power of the rest."""
    angles = 2 * np.pi * frequency * np.arange(len(back)) / rate
    late = len(back) // 2  # settled by then
    basis = np.stack([np.sin(angles), np.cos(angles)], axis=1)[late:]
    parts = np.linalg.lstsq(basis, back[late:])[0]
    rest = back[late:] - basis @ parts
    return complex(*parts), float(np.mean(rest**2))


def decibels(ratio: float) -> float:
    """Return a ratio of amplitudes in dB."""
    return float(20 * np.log10(max(ratio, 1e-6)))


def latency(convert: Convert, source: int, target: int) -> tuple[float, float, Signal]:
    """Return the least and the most latency in ms, and the samples of each call."""
    frequency = 20.0  # slow, so that its phase tells the shift of any filter here
    back, counts = answered(convert, frames(frequency, source))
    tone, _ = fitted(back, frequency, target)
    shift = -np.angle(tone) / (2 * np.pi * frequency)
    fed = np.arange(1, len(counts) + 1) / FRAMES_A_SECOND
    late = (fed - np.cumsum(counts) / target + shift)[len(counts) // 2 :]
    return 1000 * float(late.min()), 1000 * float(late.max()), counts[len(counts) // 2 :]


def purity(make: Callable[[int, int], Convert], source: int, target: int) -> float:
    """Return the aliases or the images in dB of a tone."""
    if source > target:
        back, _ = answered(make(source, target), frames(6000, source))
        return decibels(float(np.sqrt(2 * np.mean(back[len(back) // 2 :] ** 2))) / AMPLITUDE)
    back, _ = answered(make(source, target), frames(3000, source))
    _, rest = fitted(back, 3000, target)
    return decibels(float(np.sqrt(2 * rest)) / AMPLITUDE)


def feed(convert: Convert, sound: list[bytes]) -> Callable[[], None]:
    """Return what converts all frames of a sound."""

    def work() -> None:
        for frame in sound:
            convert(frame)

    return work


def us_a_frame(source: int, target: int, seconds: float) -> dict[str, list[float]]:
    """Return the time of a frame, round by round, for each resampler."""
    noise = np.random.default_rng(711).integers(-30000, 30000, source, np.int16).tobytes()
    size = 2 * source // FRAMES_A_SECOND
    sound = [noise[at : at + size] for at in range(0, len(noise) - size + 1, size)]
    works = {name: feed(make(source, target), sound) for name, make in MAKERS.items()}
    if (source, target) == (8000, 16000):
        up, down = Resampler(source, target), Resampler(target, source)
        works[AND_BACK] = feed(lambda pcm: down.convert(up.convert(pcm)), sound)
    rounds = in_turns(works, seconds)
    return {name: [1e6 * time / len(sound) for time in times] for name, times in rounds.items()}


def row(name: str, source: int, target: int) -> list[str]:
    """Return what is shown of a resampler, but for its time."""
    make = MAKERS[name]
    shortest, longest, counts = latency(make(source, target), source, target)
    back, _ = answered(make(source, target), frames(3200, source))
    gain = decibels(abs(fitted(back, 3200, target)[0]) / AMPLITUDE)
    fewest, most, empty = counts.min(), counts.max(), np.mean(counts == 0)
    samples = f"{fewest:.0f}" if fewest == most else f"{fewest:.0f}..{most:.0f}"
    return [
        f"{shortest:.1f}" if longest - shortest < 0.15 else f"{shortest:.1f}..{longest:.1f}",
        samples + (f", {empty:.0%} empty" if empty else ""),
        f"{purity(make, source, target):.0f}",
        f"{round(gain, 2) + 0.0:.2f}",  # no -0.00
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
        times = us_a_frame(source, target, seconds)
        for name, rounds in times.items():
            ratio = median(a / b for a, b in zip(rounds, times["this service"], strict=True))
            shown = row(name, source, target) if name in MAKERS else [""] * 4
            table.add_row(name, *shown, f"{median(rounds):.1f} ({ratio:.1f}x)")
        console.print(table)


if __name__ == "__main__":
    main()
