"""A call with a handler at its other end: both run in one nursery, and end together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from service import logs
from service.calls.call import Call, hold
from service.calls.clock import Clock
from service.calls.duplex import Duplex
from service.calls.roster import Place
from service.calls.terms import Terms
from service.conversation import Link
from service.dialects.events import Start
from service.ending import FAULT, FINISHED, Ending

_log = logs.get(__name__)

#: How long a handler may go on after its caller has left, in seconds.
GRACE_SECONDS = 5.0
#: What a handler raises by its bug. The last two are no `Exception`, and would end all calls: a bot
#: may call `sys.exit()`, and may run a library for asyncio in a thread.
_BUGS = (Exception, SystemExit, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Handling:
    """Who answers calls, and the clock by which it speaks; `name` is for the logs."""

    name: str
    answer: "Callable[[HandledCall], Awaitable[None]]"
    clock: Clock


class HandledCall(Call):
    """A call that a handler answers, whose direct exceptions are the handler's bugs.

    Once it has begun, `start` is what is known of its stream.
    """

    handled = True
    start: Start

    def __init__(self, *parts: Any, handling: Handling, draining: trio.Event) -> None:
        self._handling, self.draining = handling, draining
        super().__init__(*parts)

    def _new_conversation(self) -> Duplex:
        self.duplex = Duplex(*self._dialogue_parts(), clock=self._handling.clock)
        if self.terms is not None:
            self.start = self.asked.start()
            self.duplex.begin_with(self.terms)
            self.duplex.started.set()
            if self.terms.events:
                self.duplex.greeting = self._started(self.terms)
        return self.duplex

    def _agree(self, start: Start) -> Terms:
        self.start = start
        return super()._agree(start)

    async def _converse(self, link: Link, place: Place) -> Ending:
        duplex, answered = self.duplex, trio.Event()

        async def answer() -> None:
            await duplex.started.wait()
            duplex.end(await self._answer())
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, name=self._handling.name)
            if self.asked.terms is None:
                nursery.start_soon(self._tend, duplex)
            ending = await hold(link, duplex, self._limits, place, duplex.over)
            # A drain or an operator has given the handler its time before.
            if duplex.started.is_set() and not place.scope.cancelled_caught:
                with trio.move_on_after(GRACE_SECONDS):
                    await answered.wait()
            nursery.cancel_scope.cancel()
        return ending

    async def _answer(self) -> Ending:
        """Run the handler; return how it ends the call."""
        try:
            await self._handling.answer(self)
        except _BUGS as bug:
            self._fail(bug)
        except BaseExceptionGroup as group:  # of a handler that was cancelled, and failed then
            bugs, others = group.split(_BUGS)
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
