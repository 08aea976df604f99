"""The conversation of a call with a handler, between a mouth that remembers and Trio's clock."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from service import codec
from service.calls.clock import TICK_SECONDS, Clock
from service.calls.duplex import Duplex
from service.calls.slips import Slips
from service.calls.speech import UNWRITTEN_BYTES
from service.calls.terms import Terms
from service.conversation import Message
from service.dialects import raw
from service.dialects.events import Clear, Digits, Event, Mark
from service.ending import FINISHED, Ending
from service.tally import Tally

FRAME = bytes(320)
SECOND = FRAME * 50


class Remembers:
    """A mouth, and what it was told."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.times: list[float] = []
        self.held: list[bool] = []
        self.endings: list[Ending] = []
        self.unwritten = 0

    def say(self, message: Message) -> None:
        self.said.append(message)
        self.times.append(trio.current_time())

    def hold(self, held: bool) -> None:
        self.held.append(held)

    def end(self, ending: Ending) -> None:
        self.endings.append(ending)

    @property
    def audio(self) -> float:
        """How many seconds of audio were said."""
        return sum(len(item) for item in self.said if isinstance(item, bytes)) / 16000


class Fixture:
    def __init__(self, *, events: bool = False, live: bool = False) -> None:
        self.tally, self.clock, self.mouth = (
            Tally(codec.available(), codec.LAWS),
            Clock(),
            Remembers(),
        )
        terms = Terms("audioop", "pcm16", "pcm16", 8000, 8000, events=events, live=live)
        greeting = '{"type": "started"}' if events else None
        half = raw.Service({"events": "json"} if events else {})
        slips = Slips(self.tally.dialect_errors["raw"], {})
        self.duplex = Duplex(
            half, slips, lambda start: terms, self.tally, 1 << 20, clock=self.clock
        )
        self.duplex.greeting = greeting
        self.duplex.begin_with(terms)
        self.duplex.begin(self.mouth)
        self.hearing, self.speech = self.duplex.hearing, self.duplex.speech

    @property
    def asked(self) -> bool:
        """Whether the clock asks this call."""
        return bool(self.clock._ticks)


@asynccontextmanager
async def duplex(*, events: bool = False, live: bool = False) -> AsyncIterator[Fixture]:
    fixture = Fixture(events=events, live=live)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.clock.run)
        yield fixture
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("events", [True, False])
async def test_only_a_caller_that_takes_events_is_greeted(
    events: bool, autojump_clock: MockClock
) -> None:
    async with duplex(events=events) as call:
        assert call.mouth.said == (['{"type": "started"}'] if events else [])


async def test_the_first_audio_goes_out_at_once_and_the_clock_sleeps_after_the_last(
    autojump_clock: MockClock,
) -> None:
    async with duplex() as call:
        call.speech.play(SECOND)
        assert call.mouth.audio == pytest.approx(0.06)
        assert call.asked
        await trio.sleep(1.05)
        assert call.mouth.audio == 1
        assert call.speech.silent
        assert not call.asked
        assert call.tally.spoken_frames == 50
        assert call.tally.outbound_seconds == pytest.approx(1)


async def test_a_turn_that_comes_late_makes_no_later_frame_late(
    autojump_clock: MockClock,
) -> None:
    async with duplex() as call:
        await trio.sleep(0.0013)
        began = trio.current_time()
        call.speech.play(SECOND)
        for _ in range(4):
            await trio.sleep(0.2)
            autojump_clock.jump(0.013)
        await trio.sleep(1)
    # The lead is 40 ms.
    late = [at - began - (number - 2) * 0.02 for number, at in enumerate(call.mouth.times)][3:]
    assert len(late) == 47
    assert min(late) > -0.001
    assert sum(seconds > TICK_SECONDS + 0.001 for seconds in late) <= 4


async def test_nothing_is_said_while_bytes_wait_and_then_the_rest_is_later(
    autojump_clock: MockClock,
) -> None:
    async with duplex() as call:
        call.speech.play(SECOND)
        call.mouth.unwritten = 1
        await trio.sleep(5)
        assert call.mouth.audio == pytest.approx(0.06)
        call.mouth.unwritten = 0
        await trio.sleep(0.021)
        assert call.mouth.audio < 0.4
        await trio.sleep(1)
        assert call.mouth.audio == 1


async def test_messages_wait_while_many_bytes_do(autojump_clock: MockClock) -> None:
    async with duplex(events=True) as call:
        call.mouth.unwritten = UNWRITTEN_BYTES
        await call.speech.written()
        call.mouth.unwritten = UNWRITTEN_BYTES + 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.speech.written)
            await trio.sleep(1)
            assert nursery.child_tasks
            call.mouth.unwritten = 0
            await trio.sleep(0.03)
            assert not nursery.child_tasks
        assert not call.asked


@pytest.mark.parametrize("live", [True, False])
async def test_a_caller_is_held_while_its_handler_is_slow_unless_it_is_live(
    live: bool, autojump_clock: MockClock
) -> None:
    async with duplex(live=live) as call:
        call.duplex.receive(FRAME)
        assert await call.hearing.next() == FRAME
        for _ in range(150):
            call.duplex.receive(FRAME)
        assert call.mouth.held == ([] if live else [True])
        for _ in range(99):
            await call.hearing.next()
        assert call.mouth.held == ([] if live else [True])
        await call.hearing.next()
        assert call.mouth.held == ([] if live else [True, False])  # half of the bound is left
        assert call.tally.frames_dropped == {"live": 50 if live else 0, "unheard": 0}


async def test_a_caller_whom_nobody_hears_is_not_held(autojump_clock: MockClock) -> None:
    async with duplex() as call:
        for _ in range(150):
            call.duplex.receive(FRAME)
            call.duplex.receive('{"type": "digits", "digits": "1"}')
        assert call.mouth.held == []
        assert call.tally.frames_dropped == {"live": 0, "unheard": 50}


async def test_empty_frames_are_no_audio(autojump_clock: MockClock) -> None:
    async with duplex() as call:
        for _ in range(10_000):
            assert call.duplex.receive(b"") is None
        call.duplex.receive(FRAME)
        assert await call.hearing.next() == FRAME
        assert call.tally.interarrival_jitter_seconds.count == 0


@pytest.mark.parametrize("first", ["audio", "cancellation"])
async def test_a_wait_that_is_cancelled_just_as_audio_comes_loses_none(
    first: str, autojump_clock: MockClock
) -> None:
    heard: list[bytes | Event | None] = []
    frames = [bytes([number]) * 320 for number in range(20)]

    async def hear() -> None:
        heard.append(await call.hearing.next())

    async with duplex() as call:
        for number in range(0, len(frames), 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear)
                await trio.testing.wait_all_tasks_blocked()
                if first == "cancellation":
                    nursery.cancel_scope.cancel()
                for frame in frames[number : number + 2]:
                    call.duplex.receive(frame)
                nursery.cancel_scope.cancel()
        if first == "audio":
            assert heard == frames[:10]  # each wait had one, and left one
        while len(heard) < len(frames):
            await hear()
    assert heard == frames


async def test_audio_that_finds_its_handler_waiting_has_not_waited_itself(
    autojump_clock: MockClock,
) -> None:
    async with duplex() as call, trio.open_nursery() as nursery:
        nursery.start_soon(call.hearing.next)
        await trio.testing.wait_all_tasks_blocked()
        waited = call.tally.queue_seconds["inbound"]
        call.duplex.receive(FRAME)
        assert (waited.count, waited.sum) == (1, 0)
        call.duplex.receive(FRAME)
        call.duplex.receive(FRAME)
        assert waited.count == 3
        assert waited.sum == pytest.approx(0.02 + 0.04)


async def test_marks_are_told_in_order_and_only_once(autojump_clock: MockClock) -> None:
    async with duplex() as call:
        for name in ("one", "two", "two", "three"):
            call.speech.play(FRAME)
            call.speech.mark(name)
        await trio.sleep(1)
        heard: list[bytes | Event | None] = [await call.hearing.next() for _ in range(4)]
        assert heard == [Mark("one"), Mark("two"), Mark("two"), Mark("three")]
        assert not call.hearing._inbox.items


async def test_a_caller_that_was_held_is_believed_again_once_it_is_read(
    autojump_clock: MockClock,
) -> None:
    """The clock told two of three marks for it; of these the caller's own word comes too late."""
    async with duplex(events=True) as call:
        call.duplex.receive(FRAME)
        await call.hearing.next()
        for _ in range(3):
            call.speech.play(FRAME)
            call.speech.mark("same")
        await trio.sleep(0.2)
        call.duplex.receive('{"type": "mark", "name": "same"}')
        assert await call.hearing.next() == Mark("same")
        for _ in range(101):
            call.duplex.receive(FRAME)
        assert call.mouth.held == [True]
        events = [await call.hearing.next() for _ in range(103)]
        assert events.count(Mark("same")) == 2
        assert call.mouth.held == [True, False]
        for _ in range(2):
            call.duplex.receive('{"type": "mark", "name": "same"}')
        call.duplex.receive('{"type": "digits", "digits": "1"}')
        assert await call.hearing.next() == Digits("1")


@pytest.mark.parametrize("events", [True, False])
async def test_a_clear_is_silence_at_once(events: bool, autojump_clock: MockClock) -> None:
    async with duplex(events=events) as call:
        call.speech.play(SECOND)
        await trio.sleep(0.5)
        said = call.mouth.audio
        call.speech.clear()
        assert call.tally.clear_seconds.count == 1  # not at the next turn of the clock
        if events:
            assert json.loads(str(call.mouth.said[-1])) == {"type": "clear"}
        await trio.sleep(1)
        assert call.mouth.audio == said
        assert not call.asked


async def test_a_clear_that_finds_nothing_to_cut_took_no_time(autojump_clock: MockClock) -> None:
    async with duplex() as call:
        call.speech.play(FRAME)  # it is sent at once, and a raw caller cannot be told to drop it
        for _ in range(3):
            call.speech.clear()
        await trio.sleep(1)
        assert call.tally.clear_seconds.count == 0


async def test_a_clear_behind_bytes_that_wait_is_silence_once_they_are_written(
    autojump_clock: MockClock,
) -> None:
    async with duplex() as call:
        call.speech.play(SECOND)
        call.mouth.unwritten = 1
        call.speech.clear()
        await trio.sleep(1)
        assert call.tally.clear_seconds.count == 0
        call.mouth.unwritten = 0
        await trio.sleep(0.03)
        assert call.tally.clear_seconds.count == 1


@pytest.mark.parametrize("how", ["over", "end"])
async def test_after_the_end_nothing_is_said_and_nothing_stays_in_the_clock(
    how: str, autojump_clock: MockClock
) -> None:
    async with duplex(events=True) as call:
        call.speech.play(SECOND)
        said = len(call.mouth.said)
        if how == "over":
            call.duplex.over()
        else:
            call.duplex.end(FINISHED)
        call.speech.play(SECOND)
        call.speech.mark("late")
        call.speech.clear()
        assert not call.speech.say(Clear())
        await call.speech.written()
        assert call.speech.silent
        assert await call.hearing.next() is None
        await trio.sleep(1)
        assert len(call.mouth.said) == said
        assert not call.asked


async def test_whoever_waits_is_told_of_the_end(autojump_clock: MockClock) -> None:
    async with duplex() as call, trio.open_nursery() as nursery:
        nursery.start_soon(call.hearing.next)
        nursery.start_soon(call.speech.changed)
        nursery.start_soon(call.speech.changed)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 3
        call.duplex.over()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_bug_in_the_clocks_turn_ends_its_own_call(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with duplex() as call:
        call.speech.play(SECOND)
        monkeypatch.setattr(call.mouth, "say", lambda message: 1 / 0)
        other: list[float] = []
        call.clock.ask(other.append, trio.current_time() + 0.05)
        await trio.sleep(0.1)
        assert [ending.code for ending in call.mouth.endings] == [1011]
        assert len(other) == 1
