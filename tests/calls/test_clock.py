"""The clock of all calls that speak; Trio's clock jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from weakref import ref

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from service.calls.clock import TICK_SECONDS, Clock

FRAME = 0.02
#: What the sum of a few floats may be wrong by.
ROUNDING = 1e-4


@asynccontextmanager
async def running() -> AsyncIterator[Clock]:
    clock = Clock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        yield clock
        nursery.cancel_scope.cancel()


def in_time(when: float) -> object:
    """Return what equals a time that is not before `when`, and a tick after it at most."""
    return pytest.approx(when + TICK_SECONDS / 2, abs=TICK_SECONDS / 2 + ROUNDING)


@given(waits=st.lists(st.floats(0, 0.1), min_size=1, max_size=30))
def test_each_call_is_asked_once_within_a_tick_of_its_time(waits: list[float]) -> None:
    asked: list[tuple[float, float]] = []

    def speak(when: float, now: float) -> None:
        asked.append((when, now))

    async def main() -> None:
        async with running() as clock:
            for wait in waits:
                when = trio.current_time() + wait
                clock.ask(partial(speak, when), when)
                await trio.sleep(0.003)
            await trio.sleep(0.2)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(asked) == len(waits)
    for when, now in asked:
        assert now == in_time(when)


@pytest.mark.parametrize("offset", [0.0013, 0.005, 0.0199, 0.02])
async def test_a_call_that_is_due_every_20_ms_is_always_as_late(
    offset: float, autojump_clock: MockClock
) -> None:
    times: list[float] = []

    async with running() as clock:
        began = trio.current_time() + offset

        def speak(now: float) -> None:
            times.append(now)
            clock.ask(speak, began + len(times) * FRAME)

        clock.ask(speak, began)
        await trio.sleep(2)
    assert 99 <= len(times) <= 100
    for number, now in enumerate(times):
        assert now == in_time(began + number * FRAME)
        assert now - times[0] == pytest.approx(number * FRAME)


async def test_of_several_times_the_earliest_counts(autojump_clock: MockClock) -> None:
    times: list[float] = []
    async with running() as clock:
        now = trio.current_time()
        for wait in (0.05, 0.02, 0.03, 0.02):
            clock.ask(times.append, now + wait)
        await trio.sleep(1)
        assert times == [in_time(now + 0.02)]
        clock.ask(times.append, now + 1.05)
        await trio.sleep(1)
        assert times[1:] == [in_time(now + 1.05)]


async def test_a_time_that_has_passed_is_now(autojump_clock: MockClock) -> None:
    times: list[float] = []
    async with running() as clock:
        for wait in (-3600, -1, 0):
            now = trio.current_time()
            clock.ask(times.append, now + wait)
            await trio.sleep(0.02)
            assert times.pop() == in_time(now)
    assert times == []


async def test_who_is_forgotten_is_asked_no_more_until_it_asks_again(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []
    async with running() as clock:
        now = trio.current_time()
        clock.forget(times.append)
        clock.ask(times.append, now + 0.02)
        clock.forget(times.append)
        clock.ask(times.append, now + 0.06)
        await trio.sleep(1)
        assert times == [in_time(now + 0.06)]


async def test_who_is_forgotten_is_soon_let_go_of(autojump_clock: MockClock) -> None:
    class Call:
        def speak(self, now: float) -> None:
            raise AssertionError

    async with running() as clock:
        call = Call()
        gone = ref(call)
        clock.ask(call.speak, trio.current_time() + FRAME)
        clock.forget(call.speak)
        del call
        await trio.sleep(2 * FRAME)
        assert gone() is None


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_it_sleeps_while_nobody_speaks(autojump_clock: MockClock) -> None:
    turns = Turns()
    times: list[float] = []
    forgotten: list[float] = []
    async with running() as clock:
        for number in range(1, 4):
            clock.ask(times.append, trio.current_time() + 0.1)
            clock.ask(forgotten.append, trio.current_time() + 0.1)
            clock.forget(forgotten.append)
            await trio.sleep(0.2)
            assert len(times) == number
            trio.lowlevel.add_instrument(turns)
            await trio.sleep(3600)
            trio.lowlevel.remove_instrument(turns)
        assert turns.count < 20
        assert forgotten == []


async def test_a_slow_call_delays_the_others_who_are_then_asked_once_in_order(
    autojump_clock: MockClock,
) -> None:
    asked: list[str] = []

    def slow(now: float) -> None:
        autojump_clock.jump(1)

    def note(name: str, now: float) -> None:
        asked.append(name)

    async with running() as clock:
        now = trio.current_time()
        clock.ask(slow, now)
        for name, wait in (("c", 0.5), ("a", 0.01), ("b", 0.02), ("late", 1.5)):
            clock.ask(partial(note, name), now + wait)
        await trio.sleep(1.1)
        assert asked == ["a", "b", "c"]
        await trio.sleep(0.5)
        assert asked == ["a", "b", "c", "late"]


async def test_after_an_hour_without_the_processor_it_goes_on_at_once(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []
    async with running() as clock:
        clock.ask(times.append, trio.current_time() + FRAME)
        await trio.sleep(TICK_SECONDS / 2)
        autojump_clock.jump(3600)
        clock.ask(lambda now: None, trio.current_time() + FRAME)
        trio.lowlevel.add_instrument(turns := Turns())
        await trio.sleep(2 * FRAME)
        trio.lowlevel.remove_instrument(turns)
        assert len(times) == 1
        assert turns.count < 30


async def test_calls_come_and_go_while_others_are_asked(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    async with running() as clock:
        now = trio.current_time() + 0.01

        def first(at: float) -> None:
            asked.append("first")
            clock.forget(first)
            clock.forget(second)
            clock.ask(third, now)
            if len(asked) < 3:
                clock.ask(first, now)

        def second(at: float) -> None:
            asked.append("second")

        def third(at: float) -> None:
            asked.append("third")

        clock.ask(first, now)
        clock.ask(second, now)  # at the same tick
        await trio.sleep(1)
    assert asked == ["first", "third", "first", "third"]


async def test_a_crowd_that_is_due_at_once_leaves_others_their_turn(
    autojump_clock: MockClock,
) -> None:
    """It is asked in portions. One that is forgotten in between is not asked any more."""
    forgotten, asked, begun = False, 0, trio.Event()

    def speak(number: int, now: float) -> None:
        nonlocal asked
        asked += 1
        begun.set()
        assert not forgotten

    async with running() as clock:
        crowd = [partial(speak, number) for number in range(200)]
        for each in crowd:
            clock.ask(each, trio.current_time())
        await begun.wait()
        assert asked < 200
        forgotten = True
        for each in crowd:
            clock.forget(each)
        await trio.sleep(1)
