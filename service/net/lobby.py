"""The connections that are no calls, or not yet: their number has a limit of its own.

A connection costs a descriptor and a few KiB, and anybody can open thousands. When the lobby is
full, a newcomer takes the place of the connection that has been idle for longest. If no connection
is idle, it takes the place of the one whose request began first: that client does not send, or
does not read. So a probe or a caller gets in, however many others only hold connections.
"""

from typing import Protocol


class Guest(Protocol):
    """A connection in the lobby."""

    @property
    def idle(self) -> bool:
        """Whether it is between requests."""

    def evict(self) -> None:
        """Close at once, whatever is under way."""

    def retire(self) -> None:
        """Close if idle; otherwise the request under way is the last."""


class Lobby:
    """At most `most` connections, ordered by when each came or last began or ended a request."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._guests: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> None:
        """Count a new connection."""
        self._guests[guest] = None

    def renew(self, guest: Guest) -> None:
        """Put a connection behind all others, because it has begun or ended a request."""
        if guest in self._guests:
            del self._guests[guest]
            self._guests[guest] = None

    def leave(self, guest: Guest) -> None:
        """Count a connection no more: it has closed, or has become a call."""
        self._guests.pop(guest, None)

    def make_room(self) -> None:
        """Close connections until there is room for a newcomer."""
        while len(self._guests) >= self._most:
            self.evict_one()

    def evict_one(self) -> None:
        """Close the connection that has been idle for longest, or else the oldest request's."""
        if self._guests:
            guest = next((guest for guest in self._guests if guest.idle), next(iter(self._guests)))
            self.leave(guest)
            guest.evict()

    def retire(self) -> None:
        """Close the idle connections, and the others after the request under way."""
        for guest in list(self._guests):
            guest.retire()
