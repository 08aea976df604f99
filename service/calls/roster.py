"""The calls on the line: admission, drain, and the wait for the last call.

Everything here decides at once and does no I/O; the caller of a method acts on its answer.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import count
from math import inf
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from service.bearer import Token
from service.ending import DRAINED, Ending
from service.tally import Refusal

if TYPE_CHECKING:
    from service.calls.call import Call

#: A drain ends so many calls, then /health, /metrics and the other calls get their turn.
_DISMISSED_AT_ONCE = 8


class Roster:
    """The calls of one service, at most `max_sessions` at a time.

    Of these, a token's holder may have `per_token` and a network `per_address`; 0 sets no limit.
    A drain begins with a notice: the service is not ready, and still admits calls. `stopping`: the
    process is going to exit, so that nothing takes the drain back. `drain_deadline`: the Unix time
    at which the calls that are left are ended then, or 0.
    """

    def __init__(self, max_sessions: int, per_token: int = 0, per_address: int = 0) -> None:
        self.max_sessions = max_sessions
        self.by_holder = _Shares(per_token)
        self.by_network = _Shares(per_address)
        self.stopping = False
        self._refuses_from = inf
        self.drain_deadline = 0.0
        self.drain_begun = trio.Event()
        self._places: set[Place] = set()
        self._calls: dict[str, Place] = {}  # those with a call, by its id; the longest is first
        self._numbers = count(1)
        self._empty = trio.Event()

    @property
    def active(self) -> int:
        """The number of calls on the line, those being answered included."""
        return len(self._places)

    @property
    def draining(self) -> bool:
        """Whether the service is going away, its notice included: it is not ready."""
        return self._refuses_from < inf

    def drain(self, notice_seconds: float = 0.0) -> float:
        """Begin a drain; return when its notice is over, in seconds of Trio's clock.

        During a drain this can only shorten the notice.
        """
        self._refuses_from = min(self._refuses_from, trio.current_time() + notice_seconds)
        self.drain_begun.set()
        return self._refuses_from

    def take_back_the_drain(self) -> None:
        """Be ready again; not for when the process is `stopping`."""
        self._refuses_from = inf
        self.drain_begun = trio.Event()

    def refusal(self, token: Token | None = None, network: str | None = None) -> Refusal | None:
        """Return why no further call is admitted, of this caller if given, or None."""
        if self.draining and trio.current_time() >= self._refuses_from:
            return Refusal.DRAINING
        if self.active >= self.max_sessions:
            return Refusal.AT_CAPACITY
        if token is not None and self.by_holder.used_up(token.holder):
            return Refusal.TOO_MANY_SESSIONS
        if network is not None and self.by_network.used_up(network):
            return Refusal.TOO_MANY_SESSIONS
        return None

    def no_capacity(self) -> Refusal | None:
        """Return why a balancer should send newcomers elsewhere, or None.

        In a drain that is from the beginning of the notice on.
        """
        return Refusal.DRAINING if self.draining else self.refusal()

    def admit(self, token: Token | None = None, network: str | None = None) -> "Place | Refusal":
        """Give a call a place on the line, to be used as a context manager, or refuse it.

        The call counts for its token and its network, if given.
        """
        refusal = self.refusal(token, network)
        if refusal is not None:
            return refusal
        place = Place(self, token, network)
        self._places.add(place)
        if token is not None:
            self.by_holder.take(token.holder)
        if network is not None:
            self.by_network.take(network)
        return place

    def enlist(self, place: "Place", call: "Call") -> None:
        """List the call of a place from now on."""
        place.number, place.call = next(self._numbers), call
        self._calls[call.id] = place

    def find(self, call_id: str) -> "Place | None":
        """Return the place of the call with that id."""
        return self._calls.get(call_id)

    def page(self, after: int, most: int) -> "list[Place]":
        """Return at most so many places whose numbers are above `after`, in their order."""
        places = list(self._calls.values())
        start = bisect_right(places, after, key=attrgetter("number"))
        return places[start : start + most]

    def release(self, place: "Place") -> None:
        """Take back the place of a call that is over."""
        self._places.discard(place)
        if place.token is not None:
            self.by_holder.give_back(place.token.holder)
        if place.network is not None:
            self.by_network.give_back(place.network)
        if place.call is not None:
            self._calls.pop(place.call.id, None)
        if not self._places:
            self._empty.set()

    async def dismiss(
        self,
        ending: Ending = DRAINED,
        chosen: Callable[["Place"], bool] = lambda place: True,
    ) -> int:
        """End the chosen calls, some at each wake-up of the event loop; return how many."""
        places = [place for place in self._places if chosen(place)]
        for number, place in enumerate(places):
            place.end(ending)
            if number % _DISMISSED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return len(places)

    async def wait_empty(self) -> None:
        """Return when nobody is on the line; meant for when no call is admitted any more."""
        while self._places:
            self._empty = trio.Event()
            await self._empty.wait()


class _Shares:
    """How many calls each has; `most` is the limit of each, and 0 is none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: Counter[Hashable] = Counter()

    def calls_of(self, key: Hashable) -> int:
        """Return how many calls there are with that key."""
        return self._calls[key]

    def used_up(self, key: Hashable) -> bool:
        """Return whether there is no room for another call with that key."""
        return 0 < self._most <= self._calls[key]

    def take(self, key: Hashable) -> None:
        """Count a call."""
        self._calls[key] += 1

    def give_back(self, key: Hashable) -> None:
        """Count a call no more; forget a key that has none, so nothing grows."""
        self._calls[key] -= 1
        if not self._calls[key]:
            del self._calls[key]


class Place:
    """One call's place on the line, for a `with` block.

    `scope` is the call's, and `ending` tells how the call ends where `scope` is cancelled. A listed
    place has a `number`, which grows from call to call, and its `call`.
    """

    def __init__(self, roster: Roster, token: Token | None, network: str | None) -> None:
        self._roster = roster
        self.token, self.network = token, network
        self.scope = trio.CancelScope()
        self.ending = DRAINED
        self.number = 0
        self.call: Call | None = None

    def end(self, ending: Ending) -> None:
        """End the call in this way, unless it is about to end already."""
        if not self.scope.cancel_called:
            self.ending = ending
            self.scope.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._roster.release(self)
