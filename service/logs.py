"""Logging: structlog to standard error, and the standard library's lines in the same form.

JSON lines for machines, coloured columns on a terminal. A line that cannot be written (a full
disk, a closed pipe) is lost, and never disturbs a call.
"""

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog


def set_up(level: str, form: str) -> None:
    """Send every log line of the process to standard error.

    `level` is debug, info, warning or error; `form` is json, console, or auto, which is console
    on a terminal and json elsewhere.
    """
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # By default both renderings show the variables too, and those may be tokens or audio.
    rendering: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=shared,
        )
    )
    # Other packages' debug lines show messages, and audio is not for logs.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.raiseExceptions = False
    lines = _Lines(sys.stderr)
    structlog.configure(
        processors=[*shared, *rendering],
        # Below the level its methods do nothing at all, which is what a storm of calls can afford.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Past the standard library: its record and handler double the cost of a line.
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Writes each line at once, whatever its level."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the latter from a closed file
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = critical = msg


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of that name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


class Sparse:
    """Lets one log line of a kind pass in so many seconds, and counts those between."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")
        self._left_out = 0

    def passes(self, now: float) -> int | None:
        """Return how many lines were left out since the last; None to leave out this one too."""
        if now < self._next:
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        self._next = now + self._seconds
        return left_out
