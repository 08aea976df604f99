"""Logging: structlog to standard error, and everybody else's lines in the same form.

JSON lines for machines, coloured columns on a terminal. Whoever reads standard error may stall,
and a disk may be full. So a thread writes, and nothing else waits for a line: when _MOST_LINES
are queued, further ones are dropped and counted.
"""

import atexit
import logging
import os
import select
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from time import sleep

import structlog

#: From the most lines to the fewest.
LEVELS = ("debug", "info", "warning", "error")
#: The queue's limit, about 4 MiB: three seconds of a storm of upgrades.
_MOST_LINES = 8192
#: So many lines are written at once, about 64 KiB; joining them holds up no frame.
_AT_ONCE = 200
#: The writer lets lines gather for so long, in seconds. Each time that it wakes it wants the
#: interpreter's lock, so a storm must not wake it for each line.
_GATHER_SECONDS = 0.02
#: How long the end of the process waits for what is queued, in seconds.
_FLUSH_SECONDS = 1

#: The writer of this process; there is none before `set_up`.
_writer: "_Writer | None" = None


class _Logger(structlog.make_filtering_bound_logger("info")):  # type: ignore[misc]
    """The class of every logger; `set_level` gives it another base.

    Loggers are made once and kept, which a storm of calls needs. So the level is not theirs.
    """


def set_level(level: str) -> None:
    """Have loggers write lines from this level on, those too that are in use.

    Below the level their methods do nothing at all, which is what a storm of calls can afford. A
    call asks once, as it begins, whether its frames are logged.
    """
    _Logger.__bases__ = (structlog.make_filtering_bound_logger(level),)


def level() -> str:
    """Return the level from which on lines are written, one of LEVELS."""
    number: int = get(__name__).get_effective_level()
    return logging.getLevelName(number).lower()


def set_up(level: str, form: str) -> None:
    """Send every log line of the process to standard error, warnings and tracebacks included.

    `level` is debug, info, warning or error; `form` is json, console, or auto, which is console
    on a terminal and json elsewhere. At the end of the process the queue is flushed.
    """
    global _writer
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
    _writer = _Writer(sys.stderr.fileno())
    handler = _Handler(_writer.put)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=shared,
        )
    )
    # Other packages' debug lines show messages, and audio is not for logs.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.raiseExceptions = False
    lines = _Lines(_writer.put)
    set_level(level)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=_Logger,
        # Past the standard library: its record and handler double the cost of a line.
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # Python itself writes these to standard error, and would wait.
    logging.captureWarnings(True)
    sys.excepthook = lambda *error: get(__name__).critical("crashed", exc_info=error)
    sys.unraisablehook = _unraisable
    atexit.register(flush)


def _unraisable(error: "sys.UnraisableHookArgs") -> None:
    """Log an exception that nobody can catch, in a finalizer for instance."""
    trace = (error.exc_type, error.exc_value, error.exc_traceback)
    get(__name__).error("unraisable", message=error.err_msg, exc_info=trace)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of that name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


def dropped() -> int:
    """Return how many lines were lost since the start."""
    return 0 if _writer is None else _writer.dropped


def flush() -> None:
    """Wait until what is queued has been written, for _FLUSH_SECONDS at most."""
    if _writer is not None:
        _writer.flush()


class _Writer:
    """Lines in, from any thread; a thread of its own writes them to a descriptor.

    Python's files have locks, which a stuck thread would still hold when the process ends. A
    descriptor has none.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: SimpleQueue[str | Event] = SimpleQueue()
        # Two counts and no lock: the event loop's thread adds to one, the writer to the other.
        self._refused = self._failed = 0
        self._told = 0
        # A daemon, because the process ends even if the thread is stuck in a write.
        Thread(target=self._run, name="logs", daemon=True).start()

    @property
    def dropped(self) -> int:
        """How many lines were lost: the queue was full, or they could not be written."""
        return self._refused + self._failed

    def put(self, line: str) -> None:
        """Queue a line, or drop it when the queue is full; never wait."""
        if self._queue.qsize() < _MOST_LINES:
            self._queue.put(line)
        else:
            self._refused += 1

    def flush(self) -> None:
        """Wait until what is queued has been written, for _FLUSH_SECONDS at most."""
        written = Event()
        self._queue.put(written)
        written.wait(_FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < _AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get())
            lines = [item for item in batch if isinstance(item, str)]
            if lines and self._write(lines) and self._told < self.dropped:
                self._tell()
            for item in batch:
                if isinstance(item, Event):
                    item.set()
            if self._queue.empty():
                sleep(_GATHER_SECONDS)

    def _write(self, lines: list[str]) -> bool:
        """Write whole lines; return False if some were lost."""
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        try:
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:  # whoever shares the descriptor made it so
                    select.select([], [self._descriptor], [])
        except OSError:
            self._failed += data.count(b"\n")
            return False
        return True

    def _tell(self) -> None:
        """Queue a line about those that were lost, behind those that came before them."""
        lost = self.dropped - self._told
        self._told += lost
        structlog.wrap_logger(_Lines(self._queue.put)).warning("log_lines_dropped", lines=lost)


class _Lines:
    """What structlog gives each rendered line to, whatever its level."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = put


class _Handler(logging.Handler):
    """What the standard library gives each of its records to."""

    def __init__(self, put: Callable[[str], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._put(self.format(record))
        except Exception:
            self.handleError(record)


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
