"""Timing in turns, round by round, so that a noisy moment of the machine meets all that compare."""

import wave
from collections.abc import Callable
from operator import truediv
from statistics import median
from time import perf_counter

from harness.generator import BENCHMARKS

#: What converts a sound, and the sounds that it converts in a round.
Work = tuple[Callable[[bytes], bytes], list[bytes]]
SPEECH = BENCHMARKS.parent / "tests" / "data" / "speech.wav"
FEWEST_ROUNDS = 3


def speech() -> bytes:
    """Return seconds of speech, as PCM16 at 8 kHz."""
    with wave.open(str(SPEECH), "rb") as wav:
        return wav.readframes(wav.getnframes())


def frames(pcm: bytes, size: int) -> list[bytes]:
    """Return all whole frames of that many bytes."""
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def compared(works: dict[str, Work], seconds: float) -> dict[str, tuple[float, float]]:
    """Have each work convert its sounds, round after round, for that long in all.

    Returns medians over the rounds: the time of one sound, in us, and its ratio to the first's.
    """
    rounds: dict[str, list[float]] = {name: [] for name in works}
    first = next(iter(rounds.values()))
    end = perf_counter() + seconds
    while perf_counter() < end or len(first) < FEWEST_ROUNDS:
        for name, (convert, sounds) in works.items():
            began = perf_counter()
            for sound in sounds:
                convert(sound)
            rounds[name].append(1e6 * (perf_counter() - began) / len(sounds))
    return {
        name: (median(times), median(map(truediv, times, first))) for name, times in rounds.items()
    }
