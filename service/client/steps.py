"""The steps on the way to a call, and how long each one takes."""

import trio


class Steps:
    """How many seconds each step took, by name and in order; only steps that ended are in it.

    `under_way` is the step that has begun and has not ended, or empty.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.under_way = ""
        self._began = 0.0

    def begin(self, step: str) -> None:
        """End the step under way, and begin this one."""
        self.end()
        self.under_way, self._began = step, trio.current_time()

    def end(self) -> None:
        """End the step under way."""
        if self.under_way:
            self.seconds[self.under_way] = trio.current_time() - self._began
        self.under_way = ""
