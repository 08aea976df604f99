"""The connections that are no calls, or not yet: their number has a limit of its own.

A connection costs a descriptor and a few KiB, and anybody can open thousands. When the lobby is
full, a newcomer takes a place from the address that holds the most: that of its connection which
has been idle for longest. If none of these is idle, it takes the place of the one whose request
began first: that client does not send, or does not read. So a probe or a caller gets in, however
many others only hold connections, and one address cannot take the places of the others. A balancer
in front is one address, and has all places if it needs them.
"""

from collections import Counter
from typing import Protocol

from service.networks import network


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
        self._guests: dict[Guest, str] = {}  # and from where each is
        self._held: Counter[str] = Counter()

    def enter(self, guest: Guest, address: str) -> None:
        """Count a new connection, which is from that address."""
        origin = self._guests[guest] = network(address)
        self._held[origin] += 1

    def renew(self, guest: Guest) -> None:
        """Put a connection behind all others, because it has begun or ended a request."""
        if guest in self._guests:
            self._guests[guest] = self._guests.pop(guest)

    def leave(self, guest: Guest) -> None:
        """Count a connection no more: it has closed, or has become a call."""
        origin = self._guests.pop(guest, None)
        if origin is not None:
            self._held[origin] -= 1
            if not self._held[origin]:
                del self._held[origin]

    def make_room(self) -> None:
        """Close connections until there is room for a newcomer."""
        while len(self._guests) >= self._most:
            self.evict_one()

    def evict_one(self) -> None:
        """Close a connection; the head of the file says whose."""
        if self._guests:
            most = max(self._held.values())
            crowd = [guest for guest, origin in self._guests.items() if self._held[origin] == most]
            guest = next((guest for guest in crowd if guest.idle), crowd[0])
            self.leave(guest)
            guest.evict()

    def retire(self) -> None:
        """Close the idle connections, and the others after the request under way."""
        for guest in list(self._guests):
            guest.retire()
