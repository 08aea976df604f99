"""Admission, readiness, and the wait for the last call."""

from contextlib import ExitStack
from itertools import pairwise

import trio
import trio.testing

from service.calls.roster import Roster
from tests.peers.house import admitted


def test_calls_are_on_the_line_until_their_block_ends() -> None:
    roster = Roster(2)
    with admitted(roster), admitted(roster):
        assert roster.active == 2
        assert roster.refusal() == roster.no_capacity() == roster.admit() == "at_capacity"
        assert not roster.draining
    assert roster.active == 0
    assert roster.refusal() is None
    assert roster.no_capacity() is None


async def test_a_draining_service_refuses_newcomers_once_the_notice_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    roster = Roster(1)
    assert roster.drain(10) == roster.drain(20) == trio.current_time() + 10
    assert (roster.draining, roster.no_capacity(), roster.refusal()) == (True, "draining", None)
    await trio.sleep(10)
    assert roster.refusal() == "draining"
    roster.take_back_the_drain()
    assert (roster.draining, roster.no_capacity(), roster.refusal()) == (False, None, None)
    roster.drain()
    assert roster.refusal() == "draining"


async def test_the_wait_ends_with_the_last_call(autojump_clock: trio.testing.MockClock) -> None:
    roster = Roster(10)
    ended = []

    async def call(seconds: float) -> None:
        with admitted(roster):
            await trio.sleep(seconds)
        ended.append(seconds)

    async with trio.open_nursery() as nursery:
        for seconds in (3, 1, 2):
            nursery.start_soon(call, seconds)
        await trio.testing.wait_all_tasks_blocked()
        await roster.wait_empty()
        assert trio.current_time() >= 3
    assert ended == [1, 2, 3]


async def test_nobody_on_the_line_is_no_wait() -> None:
    await Roster(1).wait_empty()


async def test_dismissal_cancels_every_calls_scope_some_at_a_time() -> None:
    roster = Roster(100)
    with ExitStack() as calls:
        scopes = [calls.enter_context(admitted(roster)).scope for _ in range(100)]
        cancelled = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(roster.dismiss)
            while cancelled[-1] < len(scopes):
                await trio.lowlevel.checkpoint()
                cancelled.append(sum(scope.cancel_called for scope in scopes))
    assert 0 < max(after - before for before, after in pairwise(cancelled)) <= 2 * 8
