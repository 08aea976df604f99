"""What is wrong with the messages of one call: counted, and told in the log."""

from collections.abc import Mapping

from service import logs
from service.dialects.events import Slip
from service.plain import plain

_log = logs.get(__name__)


class Slips:
    """Notes one call's slips into the counts of its dialect; the log lines have `about`.

    The first slip of each kind has a line. A peer that makes the same one again and again must not
    fill the log.
    """

    def __init__(self, counts: dict[str, int], about: Mapping[str, str]) -> None:
        self._counts, self._about = counts, about
        self._told: set[Slip] = set()

    def note(self, slip: Slip, message: str) -> None:
        """Note a slip; `message` may have the peer's own text in it."""
        self._counts[slip] += 1
        if slip not in self._told:
            self._told.add(slip)
            _log.warning("dialect_error", reason=slip.value, message=plain(message), **self._about)
