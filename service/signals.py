"""What each signal does.

    SIGTERM, SIGQUIT   drain: newcomers are refused, calls may finish
    SIGINT             end all calls at once
    SIGHUP             read the files anew, and log from the level of the start on; where the
                       terminal is gone that the log is written to, drain
    SIGUSR1, SIGUSR2   log one level more, or one level less

A second signal of the first three cuts a drain short. A process cannot see a new environment, so
no signal changes a setting.
"""

import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from service import logs

_log = logs.get(__name__)

_STOPS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
_STEPS = {signal.SIGUSR1: -1, signal.SIGUSR2: 1}


class Stop:
    """The request to stop: the signal that asked, and whether another came after it."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.cut_short = False
        #: For the wait for calls to finish, which a second request ends.
        self.patience = trio.CancelScope()
        self._asked = trio.Event()

    def ask(self, number: signal.Signals) -> None:
        """Ask for a stop."""
        if self.signal is None:
            self.signal = number
            self._asked.set()
        else:
            self.cut_short = True
            self.patience.cancel()

    async def wait(self) -> signal.Signals:
        """Wait for the first request, and return its signal."""
        await self._asked.wait()
        assert self.signal is not None
        return self.signal


@asynccontextmanager
async def heeded(log_level: str, reload: Callable[[], None]) -> AsyncIterator[Stop]:
    """Have signals do what they should in the block; yield what is told of those that stop it."""
    # After a hang-up the terminal is none any more.
    terminal = sys.stderr.isatty()
    stop = Stop()

    async def heed(signals: AsyncIterator[int]) -> None:
        async for number in signals:
            received = signal.Signals(number)
            hung_up = received is signal.SIGHUP and terminal and not sys.stderr.isatty()
            if received in _STOPS or hung_up:
                stop.ask(received)
            elif received is signal.SIGHUP:
                _log_from(log_level)
                reload()
            else:
                at = logs.LEVELS.index(logs.level()) + _STEPS[received]
                _log_from(logs.LEVELS[min(max(at, 0), len(logs.LEVELS) - 1)])

    with trio.open_signal_receiver(*_STOPS, signal.SIGHUP, *_STEPS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heed, signals)
            yield stop
            nursery.cancel_scope.cancel()


def _log_from(level: str) -> None:
    """Set the log level, and say so in a line that the old level or the new one lets pass."""
    logs.set_level(min(level, logs.level(), key=logs.LEVELS.index))
    _log.warning("log_level", level_now=level)
    logs.set_level(level)
