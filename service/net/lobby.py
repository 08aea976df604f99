"""The connections that are no calls, or not yet: their number has a limit of its own.

An idle connection costs a descriptor and a few KiB, and anybody can open thousands. When the
lobby is full, a newcomer takes the place of the connection that has been idle for longest. So a
probe or a caller that speaks at once gets in, however many others only hold connections.
"""

from typing import Protocol

import trio


class Guest(Protocol):
    """A connection in the lobby."""

    def retire_if_idle(self) -> bool:
        """Close if between requests; return whether that was so."""

    def retire(self) -> None:
        """Close if idle; otherwise the request under way is the last."""


class Lobby:
    """At most `most` connections, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._guests: dict[Guest, None] = {}
        self._left = trio.Event()

    def enter(self, guest: Guest) -> None:
        """Count a new connection."""
        self._guests[guest] = None

    def leave(self, guest: Guest) -> None:
        """Count a connection no more: it has closed, or has become a call."""
        if self._guests.pop(guest, guest) is None:
            self._left.set()

    def make_room(self) -> bool:
        """Close the connection that has been idle for longest; return False if none is idle."""
        for guest in self._guests:
            if guest.retire_if_idle():
                self.leave(guest)
                return True
        return False

    async def has_room(self) -> None:
        """Return when there is room for a newcomer; make it if possible."""
        while len(self._guests) >= self.most and not self.make_room():
            self._left = trio.Event()
            await self._left.wait()

    def retire(self) -> None:
        """Close the idle connections, and the others after the request under way."""
        for guest in list(self._guests):
            guest.retire()
