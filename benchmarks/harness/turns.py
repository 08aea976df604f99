"""Timing in turns, round by round, so that a noisy moment of the machine meets all that compare."""

from collections.abc import Callable, Hashable
from time import perf_counter
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
FEWEST_ROUNDS = 3


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
