"""The search for the largest load that passes."""

from collections.abc import Callable

from harness.servers import Report


def search(
    probe: Callable[[int], Report | None], guess: int, step: float, probes: int, most: int = 8000
) -> Report:
    """Find the largest n that passes: ever longer steps from a guess, then bisection.

    Returns what the probe of the largest n that passed returned, empty if none did; `more` is in it
    if no probe failed.
    """
    best: Report = {}
    low, high, n = 0, most + 1, min(guess, most)
    for _ in range(probes):
        passed = probe(n)
        if passed is not None:
            low, best = n, passed
        else:
            high = n
        if low >= most or high <= 1 or high <= low * 1.05 + 1:
            break
        if low and high <= most:
            n = (low + high) // 2
        else:
            n = min(most, int(low * step) + 1) if low else max(1, int(high / step))
            step *= step
    return best | {"more": 1} if best and high > most else best
