"""`rt-audio serve --reload`: at a change of a Python file the process runs its command line again.

Only a new process surely has the new code and nothing of the old one. It keeps its id, so whoever
has started it notices nothing.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import trio
from watchfiles import PythonFilter, watch

from service import logs
from service.config import ConfigurationError

_log = logs.get(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def run(serve: Callable[[], Awaitable[bool]]) -> bool:
    """Return what `serve` returns, or never: after a change the command line is run again.

    A change ends all calls with 1001. A start that fails is told in one line, and waits for the
    next change.
    """
    in_full = trio.run(_until_changed, serve)
    if in_full is None:
        logs.flush()
        os.execv(sys.executable, sys.orig_argv)
    return in_full


async def _until_changed(serve: Callable[[], Awaitable[bool]]) -> bool | None:
    """Return what `serve` returns, or None after a change."""
    changes = watch(
        Path.cwd(), watch_filter=PythonFilter(), rust_timeout=100, yield_on_timeout=True
    )
    next(changes)  # from here on no change is missed, not even while the handler is imported
    in_full = None
    async with trio.open_nursery() as nursery:

        async def cancel_after_a_change() -> None:
            some = filter(None, changes)
            changed = await trio.to_thread.run_sync(next, some, abandon_on_cancel=True)
            _log.info("reloading", changed=sorted(path for _, path in changed))
            nursery.cancel_scope.cancel()

        nursery.start_soon(cancel_after_a_change)
        try:
            in_full = await serve()
        except ConfigurationError as error:
            with trio.open_signal_receiver(*_ENDING) as signals:
                click.echo(f"Error: {error}; waiting for a change", err=True)
                await anext(signals)
            in_full = True
        nursery.cancel_scope.cancel()
    return in_full
