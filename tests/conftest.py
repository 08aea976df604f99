"""Fixtures that more than one file of tests needs."""

import atexit
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import structlog
import trio
from trio.testing import memory_stream_pair

from service import logs
from tests.peers.services import Service, Use

#: A busy machine must fail no test: a deadline for each example would be a measurement of time.
#: Half of the usual number of examples keeps the suite short; each run draws others.
hypothesis.settings.register_profile("suite", deadline=None, max_examples=50)
hypothesis.settings.load_profile("suite")


def log_in_short() -> None:
    """Have structlog print JSON from `info` on; its default draws tracebacks, a second for each."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )


log_in_short()


@pytest.hookimpl(tryfirst=True)  # before any fixture starts what is not there
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked as `integration` where the program that it is with is missing."""
    for mark in item.iter_markers("integration"):
        program, package = mark.args
        # Debian has HAProxy where only root's PATH looks.
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            pytest.skip(f"needs {program}: apt-get install {package} (.ci/run does)")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have every connection of any later `trio.run` end at this service, in memory."""

    def install(service: Service) -> None:
        async def reach(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            trio.lowlevel.spawn_system_task(service, theirs)
            return ours

        monkeypatch.setattr(trio, "open_tcp_stream", reach)

    return install


@pytest.fixture
def set_up_logs() -> Iterator[Callable[[str, str], None]]:
    """Return `logs.set_up`, all of whose effects end with the test.

    The lines are on the descriptor of standard error, where `capfd` sees them and `capsys` does
    not; `peers/logged.py` reads them. structlog keeps a logger as it was at its first use, level
    included, which the next test's would be.
    """

    def set_up(level: str, form: str) -> None:
        logs.set_up(level, form)
        structlog.configure(cache_logger_on_first_use=False)

    root = logging.getLogger()
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, sys.unraisablehook
    yield set_up
    sys.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    atexit.unregister(logs.flush)
    logs._writer = None  # and what it has counted
    root.handlers[:], root.level, logging.raiseExceptions = before, level, raising
    logging.getLogger("service").setLevel(logging.NOTSET)
    log_in_short()
