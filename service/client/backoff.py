"""When to try again after a call was lost, and when to give up."""

import random

import trio

#: The bound of the first wait, in seconds; each later wait has twice the bound of the one before.
FIRST_SECONDS = 0.2
#: The largest bound, in seconds.
LONGEST_SECONDS = 5.0
#: Tries end after so many seconds without success.
PATIENCE_SECONDS = 30.0


class Backoff:
    """Exponential back-off with full jitter.

    Each wait is drawn evenly from 0 to its bound, so that the callers of a stopped instance do not
    all call again at the same moment (M. Brooker, "Exponential Backoff And Jitter").
    """

    def __init__(self) -> None:
        self._successes = self._failures = 0
        self._give_up = trio.current_time() + PATIENCE_SECONDS

    def after_failure(self, at_least: float | None, successes: int) -> float | None:
        """Return how many seconds to wait until the next try, or None if there should be none.

        `at_least` is the wait that the other side asked for, and None if no further try would
        help. `successes` is a count: when it has grown, bound and patience begin anew.
        """
        now = trio.current_time()
        if successes > self._successes:
            self._successes, self._failures = successes, 0
            self._give_up = now + PATIENCE_SECONDS
        if at_least is None:
            return None
        bound = min(LONGEST_SECONDS, FIRST_SECONDS * 2**self._failures)
        self._failures += 1
        seconds = at_least + random.uniform(0, bound)
        return seconds if now + seconds <= self._give_up else None
