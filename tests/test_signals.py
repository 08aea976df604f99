"""What signals do to a running service; test_server has those that stop it."""

import signal
from collections.abc import Callable

import pytest
import trio

from tests.peers.logged import entries
from tests.peers.serving import serving, terminate

SetUp = Callable[[str, str], None]


async def logged(capfd: pytest.CaptureFixture[str], event: str) -> dict[str, object]:
    """Return the line of an event, once it is there."""
    with trio.fail_after(5):
        while True:
            found = entries(capfd, event)
            if found:
                return found[0]
            await trio.lowlevel.checkpoint()


async def test_sigusr1_and_sigusr2_change_the_log_level_and_sighup_takes_it_back(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("warning", "json")
    async with serving(log_level="warning") as service:
        call = await service.call()
        for number, level in (
            (signal.SIGUSR1, "info"), (signal.SIGUSR1, "debug"), (signal.SIGUSR1, "debug"),
            (signal.SIGUSR2, "info"), (signal.SIGUSR2, "warning"), (signal.SIGUSR2, "error"),
            (signal.SIGHUP, "warning"),
        ):  # fmt: skip
            terminate(number)
            assert (await logged(capfd, "log_level"))["level_now"] == level
        late = await service.call()
        assert await late.ask(b"on") == await call.ask(b"on")
        await late.leave()
        assert entries(capfd, "session_started") == []


async def test_at_debug_a_call_that_begins_has_a_line_for_each_frame(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    async with serving() as service:
        terminate(signal.SIGUSR1)
        await logged(capfd, "log_level")
        call = await service.call()
        await call.ask(b"on")
        assert (await logged(capfd, "frame"))["bytes"] == 2
