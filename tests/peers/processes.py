"""The command line, or any program, as a process: the one way to start it and to read its log.

Only the standard library is imported here, so that `make demo` needs no test packages.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import Any, TypeVar

from tests.peers.series import series_of

ROOT = Path(__file__).parent.parent.parent
#: The time limit for anything that must happen. A busy machine may need a while.
DEADLINE_SECONDS = 60
RT_AUDIO = (sys.executable, "-m", "service")
SERVE = (*RT_AUDIO, "serve", "--host", "127.0.0.1", "--port")

T = TypeVar("T")

#: A proxy from the environment cannot reach this machine's loopback.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ProcessError(Exception):
    """A process ended, or did not do in time what a test needs."""


def spawn(
    *command: object, stderr: int = subprocess.PIPE, **variables: str
) -> "subprocess.Popen[str]":
    """Start a program with these variables; the service's other variables are not passed on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RT_AUDIO_")}
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=kept | variables,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


class Logging:
    """A process and its log. A thread reads the log, so the process never waits for a reader."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.log: list[str] = []
        self._looked_at = 0
        self._ended = False
        self._news = Condition()
        self._reader = Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def found(self, pattern: str) -> str:
        """Return what the pattern's group matches in the next line that has it, once it is there.

        The next call begins behind that line.
        """
        give_up = time.monotonic() + DEADLINE_SECONDS
        with self._news:
            while True:
                while self._looked_at < len(self.log):
                    self._looked_at += 1
                    if match := re.search(pattern, self.log[self._looked_at - 1]):
                        return match[1]
                left = give_up - time.monotonic()
                if self._ended or not self._news.wait(left):
                    state = "ended" if self._ended else f"has run for {DEADLINE_SECONDS} s more"
                    last = "".join(self.log[-5:])
                    raise ProcessError(f"{pattern} is not in the log; the process {state}: {last}")

    def status(self) -> int:
        """Return the exit status, once the process has ended by itself."""
        status = self.process.wait(DEADLINE_SECONDS)
        self._reader.join()
        return status

    def kill(self) -> None:
        """End the process, and read its log to the end."""
        self.process.kill()
        self._reader.join()


class Served(Logging):
    """A `serve` process that listens."""

    port: int

    @property
    def url(self) -> str:
        """The URL of its calls."""
        return f"ws://127.0.0.1:{self.port}/ws/audio"

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The whole log so far."""
        return [json.loads(line) for line in self.log]

    def logged(self, event: str) -> dict[str, Any]:
        """Return the next log entry about this event, once it is there."""
        entry: dict[str, Any] = json.loads(self.found(f'(.*"event": "{event}".*)'))
        return entry

    def metrics(self) -> dict[str, float]:
        """Return the value of each series on /metrics."""
        return series_of(get(f"http://127.0.0.1:{self.port}/metrics"))


@contextmanager
def running(*command: object, **variables: str) -> Iterator[Logging]:
    """Have any program for the block."""
    with spawn(*command, stderr=subprocess.PIPE, **variables) as process:
        log = Logging(process)
        try:
            yield log
        finally:
            log.kill()


@contextmanager
def serving(
    port: int = 0, *options: str, within: Sequence[object] = (), **variables: str
) -> Iterator[Served]:
    """Have a `serve` process for the block; it listens. `within` is a program that becomes it."""
    with spawn(*within, *SERVE, port, *options, stderr=subprocess.PIPE, **variables) as process:
        served = Served(process)
        try:
            served.port = served.logged("listening")["port"]
            yield served
        finally:
            served.kill()


def get(url: str) -> str:
    """Return the body of an HTTP answer; raise OSError unless it is a success."""
    with _http.open(url, timeout=DEADLINE_SECONDS) as answer:
        return str(answer.read(), "utf-8")


def until(condition: Callable[[], T], what: str) -> T:
    """Return what the condition returns once that is true; fail when it takes too long.

    For programs of others, which can only be asked again and again.
    """
    give_up = time.monotonic() + DEADLINE_SECONDS
    while not (result := condition()):
        if time.monotonic() > give_up:
            raise ProcessError(f"waited {DEADLINE_SECONDS} s in vain for {what}")
        time.sleep(0.05)
    return result
