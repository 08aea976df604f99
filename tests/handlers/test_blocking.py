"""A handler that blocks the event loop is told of, with its name. The blocking is real, 60 ms."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from service.handlers import Call, blocking
from tests.peers.logged import entries
from tests.peers.reach import Service
from tests.peers.serving import serving
from tests.peers.stand_in import NAME, Bot, put

FRAME = bytes(320)
Logs = Callable[[str, str], None]


@asynccontextmanager
async def answered_by(bot: Bot) -> AsyncIterator[Service]:
    async with serving(handler=put(bot)) as service:
        yield service


def block() -> None:
    time.sleep(0.06)


def take_a_little_time() -> None:
    time.sleep(0.01)


async def blocks(call: Call) -> None:
    block()
    await trio.lowlevel.checkpoint()
    block()


async def has_a_task_that_blocks(call: Call) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, block)  # as it should be done
        await trio.sleep(0.01)
        nursery.start_soon(blocks, call)


async def works_in_small_steps(call: Call) -> None:
    until = time.monotonic() + 0.06
    while time.monotonic() < until:
        await trio.lowlevel.checkpoint()


async def has_many_tasks_that_work_a_little(call: Call) -> None:
    async def work() -> None:
        take_a_little_time()

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work)


@pytest.mark.parametrize("bot", [blocks, has_a_task_that_blocks])
async def test_a_handler_or_its_task_that_blocks_is_told_of_once_in_a_while(
    bot: Bot, set_up_logs: Logs, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("info", "json")
    async with answered_by(bot) as service:
        for _ in range(2):
            call = await service.call()
            assert (await call.hung_up())[0] == 1000
    lines = entries(capfd)
    [warning] = [line for line in lines if line["event"] == "handler_blocked"]
    assert warning["level"] == "warning"
    assert warning["handler"] == NAME
    assert 0.06 <= warning["seconds"] < 1
    assert warning["untold"] == 0
    started = next(line for line in lines if line["event"] == "session_started")
    assert warning["session"] == started["session"]


@pytest.mark.parametrize("bot", [works_in_small_steps, has_many_tasks_that_work_a_little])
async def test_one_that_does_not_block_is_not_told_of(
    bot: Bot, set_up_logs: Logs, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("info", "json")
    async with answered_by(bot) as service:
        block()  # the test's own task is no handler's
        await trio.lowlevel.checkpoint()
        call = await service.call()
        assert (await call.hung_up())[0] == 1000
    assert entries(capfd, "handler_blocked") == []


async def test_to_wait_while_nobody_else_runs_is_not_to_block(
    set_up_logs: Logs, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("info", "json")
    blocking.handler.set(NAME)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocking.warn_of_blocking)
        await trio.sleep(0.06)
        await trio.sleep(0.06)
        nursery.cancel_scope.cancel()
    assert entries(capfd, "handler_blocked") == []
