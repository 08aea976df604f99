"""The clock of all calls that speak; Trio's clock jumps."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from service.calls.clock import SLOTS, Clock

FRAME = 0.02


@asynccontextmanager
async def running() -> AsyncIterator[Clock]:
    clock = Clock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        yield clock
        nursery.cancel_scope.cancel()


async def test_a_call_is_asked_every_20_ms_and_told_the_time(autojump_clock: MockClock) -> None:
    times: list[float] = []
    async with running() as clock:
        clock.add(times.append)
        await trio.sleep(2)
        assert len(times) == 100
        for number, time in enumerate(times):
            assert time == pytest.approx(times[0] + number * FRAME)
        assert 0 < times[0] <= FRAME + 1e-9


async def test_to_add_a_call_twice_is_to_add_it_once(autojump_clock: MockClock) -> None:
    times: list[float] = []
    async with running() as clock:
        clock.add(times.append)
        clock.add(times.append)
        await trio.sleep(1)
        assert len(times) == 50
        clock.remove(times.append)
        await trio.sleep(1)
        assert len(times) == 50


async def test_many_calls_are_spread_evenly_over_the_20_ms(autojump_clock: MockClock) -> None:
    times: list[float] = []

    def speak(number: int, now: float) -> None:
        times.append(round(now - start, 6))

    async with running() as clock:
        start = trio.current_time()
        for number in range(100):
            clock.add(partial(speak, number))
        await trio.sleep(0.021)
    assert Counter(times) == {0.005: 25, 0.01: 25, 0.015: 25, 0.02: 25}
    assert len(Counter(times)) == SLOTS


async def test_it_sleeps_while_nobody_speaks(autojump_clock: MockClock) -> None:
    turns = 0

    class Turns(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            nonlocal turns
            turns += 1

    times: list[float] = []
    async with running() as clock:
        for _ in range(3):
            clock.add(times.append)
            await trio.sleep(0.11)
            clock.remove(times.append)
            await trio.sleep(0.1)
            said = len(times)
            trio.lowlevel.add_instrument(counting := Turns())
            await trio.sleep(3600)
            trio.lowlevel.remove_instrument(counting)
            assert len(times) == said
        assert turns < 20
        assert len(times) == 18


async def test_a_slow_call_delays_the_next_and_nothing_is_made_up_for_in_a_burst(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []

    def slow(now: float) -> None:
        if len(times) == 10:
            autojump_clock.jump(1)

    async with running() as clock:
        clock.add(slow)
        clock.add(times.append)
        await trio.sleep(2.01)
    gaps = [late - early for early, late in pairwise(times)]
    assert max(gaps) == pytest.approx(1 + FRAME, abs=FRAME)
    assert len(times) <= 53
    assert sorted(gaps)[2:-1] == pytest.approx([FRAME] * (len(gaps) - 3))


async def test_calls_come_and_go_while_others_are_asked(autojump_clock: MockClock) -> None:
    asked: Counter[str] = Counter()

    async with running() as clock:

        def first(now: float) -> None:
            asked["first"] += 1
            clock.remove(first)
            clock.remove(second)
            clock.add(third)

        def second(now: float) -> None:
            asked["second"] += 1

        def third(now: float) -> None:
            asked["third"] += 1
            clock.remove(third)

        clock.add(first)
        for _ in range(SLOTS - 1):
            clock.add(lambda now: None)
        clock.add(second)  # in the same slot as the first
        await trio.sleep(1)
    assert asked == {"first": 1, "third": 1}


async def test_one_that_was_removed_in_the_middle_of_a_crowd_is_not_asked_any_more(
    autojump_clock: MockClock,
) -> None:
    """A crowd is asked in portions, and other tasks run in between."""
    removed, asked, begun = False, 0, trio.Event()

    def speak(number: int, now: float) -> None:
        nonlocal asked
        asked += 1
        begun.set()
        assert not removed

    async with running() as clock:
        crowd = [partial(speak, number) for number in range(200 * SLOTS)]
        for each in crowd:
            clock.add(each)
        await begun.wait()
        assert asked < 200
        removed = True
        for each in crowd:
            clock.remove(each)
        await trio.sleep(1)
