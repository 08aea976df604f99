"""Marks on their way to a peer that cannot carry every name, or not many at once."""

import re
from collections import deque

from service.dialects.events import Mark

#: A peer can carry these: no space, no quote, no backslash. `#` begins our own numbers.
_CARRIED = re.compile(r"(?!#)[!#-\[\]-~]{1,40}")


class Marks:
    """The marks that a peer has not given back yet, at most so many of them."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._set: deque[tuple[str, list[str]]] = deque()
        self._numbers = 0

    def set(self, name: str) -> str | None:
        """Return what to send for a mark. None: it counts as heard with the mark before it."""
        if len(self._set) >= self._most:
            self._set[-1][1].append(name)
            return None
        sent = name
        if not _CARRIED.fullmatch(name):
            self._numbers += 1
            sent = f"#{self._numbers}"
        self._set.append((sent, [name]))
        return sent

    def heard(self, sent: str) -> tuple[Mark, ...]:
        """Return the marks that were heard when the peer gives one back.

        It gives them back in order. It has dropped those before it that it did not give back.
        """
        if all(sent != other for other, _ in self._set):
            return ()
        while True:
            other, names = self._set.popleft()
            if other == sent:
                return tuple(map(Mark, names))
