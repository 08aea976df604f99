"""A call with a handler at its other end: both run in one nursery, and end together."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from service import logs
from service.calls.call import Call, hold
from service.calls.caller import Caller
from service.calls.clock import Clock
from service.calls.duplex import Duplex
from service.calls.roster import Place
from service.calls.session import Session
from service.calls.terms import Terms
from service.conversation import Limits, Link
from service.dialects import raw
from service.dialects.events import Start
from service.ending import FAULT, FINISHED, Ending
from service.tally import Tally

_log = logs.get(__name__)

#: How long a handler may go on after its caller has left, in seconds.
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Handling:
    """Who answers calls, and the clock by which it speaks; `name` is for the logs."""

    name: str
    answer: "Callable[[HandledCall], Awaitable[None]]"
    clock: Clock


class HandledCall(Call):
    """A call that a handler answers, whose direct exceptions are the handler's bugs."""

    handled = True

    def __init__(
        self,
        terms: Terms,
        caller: Caller,
        tally: Tally,
        limits: Limits,
        *more: Any,
        handling: Handling,
        parameters: Mapping[str, str],
        draining: trio.Event,
    ) -> None:
        self._handling = handling
        super().__init__(terms, caller, tally, limits, *more)
        self.terms, self.caller = terms, caller
        self.parameters, self.draining = parameters, draining

    def _new_session(self) -> Session:
        half = raw.Service(events=self._terms.events)
        slips = self._tally.dialect_errors["raw"]
        most, clock = self._limits.message_bytes, self._handling.clock
        self.duplex = Duplex(half, slips, self._agree, self._tally, most, clock)
        if self._terms.events:
            self.duplex.greeting = self._started()
        self.duplex.begin_with(self._terms)
        assert self.duplex.ear is not None
        return self.duplex.ear

    def _agree(self, start: Start) -> Terms:
        return self._terms

    async def _converse(self, link: Link, place: Place) -> Ending:
        answered = trio.Event()

        async def answer() -> None:
            ending = await self._answer()
            self.duplex.end(ending)
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, name=self._handling.name)
            ending = await hold(link, self.duplex, self._limits, place, self.duplex.over)
            # A drain or an operator has given the handler its time before.
            if not place.scope.cancelled_caught:
                with trio.move_on_after(GRACE_SECONDS):
                    await answered.wait()
            nursery.cancel_scope.cancel()
        return ending

    async def _answer(self) -> Ending:
        """Run the handler; return how it ends the call."""
        try:
            await self._handling.answer(self)
        except Exception as bug:
            self._fail(bug)
        except BaseExceptionGroup as group:  # of a handler that was cancelled, and failed then
            bugs, others = group.split(Exception)
            if bugs is not None:
                self._fail(bugs)
            if others is not None:
                raise others from None
        else:
            return FINISHED
        return FAULT

    def _fail(self, bug: BaseException) -> None:
        self._tally.handler_errors += 1
        _log.error("handler_failed", handler=self._handling.name, exc_info=bug)
