"""Timing in turns, round by round, so that a noisy moment of the machine meets all that compare."""

import wave
from collections.abc import Callable, Hashable, Iterable
from statistics import median
from time import perf_counter
from typing import TypeVar

from harness.generator import BENCHMARKS

Key = TypeVar("Key", bound=Hashable)
SPEECH = BENCHMARKS.parent / "tests" / "data" / "speech.wav"
FEWEST_ROUNDS = 3


def speech() -> bytes:
    """Return seconds of speech, as PCM16 at 8 kHz."""
    with wave.open(str(SPEECH), "rb") as wav:
        return wav.readframes(wav.getnframes())


def frames(pcm: bytes, size: int) -> list[bytes]:
    """Return all whole frames of that many bytes."""
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def each(convert: Callable[[bytes], object], sounds: Iterable[bytes]) -> Callable[[], None]:
    """Return the work of converting all sounds, one after the other."""

    def work() -> None:
        for sound in sounds:
            convert(sound)

    return work


def in_turns(works: dict[Key, Callable[[], None]], seconds: float) -> dict[Key, list[float]]:
    """Run all works, round after round, for that long; return the seconds of each one's rounds."""
    rounds: dict[Key, list[float]] = {key: [] for key in works}
    end = perf_counter() + seconds
    while perf_counter() < end or any(len(times) < FEWEST_ROUNDS for times in rounds.values()):
        for key, work in works.items():
            began = perf_counter()
            work()
            rounds[key].append(perf_counter() - began)
    return rounds


def ratio(mine: list[float], its: list[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return median(a / b for a, b in zip(mine, its, strict=True))
