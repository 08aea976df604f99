"""What a handler can do with its call; Trio's clock jumps, and the link is in memory."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from service import codec
from service.audio.rates import RATES
from service.calls.handled import GRACE_SECONDS
from service.calls.speech import PATIENCE_SECONDS, PLAY_SECONDS
from service.handlers import Call, Digits, HungUp, Mark, Message
from tests.peers import callers
from tests.peers.callers import Caller
from tests.peers.calling import calling
from tests.peers.house import House
from tests.peers.logged import entries
from tests.peers.stand_in import Bot

FRAME = bytes(320)
SECOND = FRAME * 50
EVENTS = "events=json"


@asynccontextmanager
async def answered_by(
    bot: Bot, query: str = "", **more: Any
) -> AsyncIterator[tuple[Caller, House]]:
    """Have a call that the bot answers; a caller that takes events has been greeted."""
    async with calling("memory", query, bot, **more) as (caller, house):
        while not (house.roster.active or house.outcomes):
            await trio.lowlevel.checkpoint()
        if EVENTS in query:
            assert json.loads(await caller.receive())["type"] == "started"
        yield caller, house


async def gone(house: House) -> dict[str, int]:
    """Wait until the call is over; return its outcome."""
    with trio.fail_after(60):
        await house.roster.wait_empty()
    return house.outcomes


async def hear(caller: Caller) -> tuple[list[Any], int | None, str]:
    """Return all that the service says, and the code and reason of its end."""
    messages = []
    while True:
        try:
            messages.append(await caller.receive())
        except callers.HungUp as end:
            return messages, end.code, end.reason


async def tell(caller: Caller, **event: Any) -> None:
    await caller.send(json.dumps(event))


# To hear


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=40)
@given(
    query=st.tuples(st.sampled_from(RATES), st.sampled_from(["pcm16", "ulaw", "alaw"])),
    rate=st.sampled_from([None, *RATES]),
    milliseconds=st.sampled_from([10, 20, 25, 200]),
    sizes=st.lists(st.integers(0, 3000), max_size=12),
)
@example(query=(8000, "pcm16"), rate=None, milliseconds=20, sizes=[320, 160, 320, 160, 320, 0, 320])
def test_frames_have_the_size_asked_for_however_the_caller_cuts_its_audio(
    query: tuple[int, str], rate: int | None, milliseconds: int, sizes: list[int]
) -> None:
    source, encoding = query
    heard: list[bytes] = []

    async def bot(call: Call) -> None:
        assert (call.rate, call.encoding) == query
        heard.extend([frame async for frame in call.frames(rate, milliseconds)])

    pieces = [bytes(number % 256 for number in range(size // 2 * 2)) for size in sizes]

    async def main() -> None:
        async with answered_by(bot, f"sample_rate={source}&encoding={encoding}") as (caller, house):
            for piece in pieces:
                await caller.send(piece)
            await caller.leave()
            assert await gone(house) == {"completed": 1}
            assert house.tally.handler_errors == 0

    run(main)
    whole = b"".join(pieces)
    pcm = whole if encoding == "pcm16" else codec.choose(law=encoding).decode(whole)
    target = rate or source
    size = target * milliseconds // 1000 * 2
    assert {len(frame) for frame in heard} <= {size}
    samples = len(pcm) // 2
    if target == source:
        assert b"".join(heard) == pcm + bytes(-len(pcm) % size)
    else:
        latency = 32 * target // min(source, target)
        least = -(-samples * target // source) * 2
        assert least <= len(heard) * size <= least + (latency + 2) * 2 + size or not samples


async def test_frames_of_another_length_follow_where_the_first_ones_end(
    autojump_clock: MockClock,
) -> None:
    heard: list[object] = []

    async def bot(call: Call) -> None:
        heard.append(await anext(call.frames()))
        heard.append(await anext(call.frames(milliseconds=5)))
        heard.extend([each async for each in call.events(milliseconds=10)])

    pcm = bytes(range(250)) * 3
    async with answered_by(bot) as (caller, house):
        await caller.send(pcm)
        await caller.leave()
        await gone(house)
    assert heard == [
        pcm[:320],
        pcm[320:400],
        pcm[400:560],
        pcm[560:720],
        pcm[720:].ljust(160, b"\0"),
    ]


async def test_audio_and_events_come_in_the_order_in_which_they_were_sent(
    autojump_clock: MockClock,
) -> None:
    heard: list[object] = []

    async def bot(call: Call) -> None:
        call.mark("begin")
        heard.extend([event async for event in call.events()])

    async with answered_by(bot, EVENTS) as (caller, house):
        assert json.loads(await caller.receive()) == {"type": "mark", "name": "begin"}
        await caller.send(FRAME)
        await tell(caller, type="digits", digits="12#")
        await caller.send(FRAME)
        await tell(caller, type="message", message={"any": ["thing", None]})
        await tell(caller, type="mark", name="begin")
        await tell(caller, type="mark", name="begin")  # it was heard once
        await caller.leave()
        assert await gone(house) == {"completed": 1}
    assert heard == [FRAME, Digits("12#"), FRAME, Message({"any": ["thing", None]}), Mark("begin")]


async def test_of_long_messages_that_a_handler_does_not_ask_for_few_wait(
    autojump_clock: MockClock,
) -> None:
    heard: list[object] = []
    long: list[object] = [[]] * 10_000  # takes 25 times the memory of its text

    async def bot(call: Call) -> None:
        await trio.sleep(1)
        heard.extend([event async for event in call.events()])

    async with answered_by(bot, EVENTS) as (caller, house):
        for number in range(10):
            await tell(caller, type="message", message=[number, *long])
        await trio.sleep(2)
        await caller.leave()
        assert await gone(house) == {"completed": 1}
    assert heard == [Message([0, *long])]


async def test_frames_pass_over_events(autojump_clock: MockClock) -> None:
    heard: list[bytes] = []

    async def bot(call: Call) -> None:
        heard.extend([frame async for frame in call.frames()])

    async with answered_by(bot) as (caller, house):
        await caller.send(FRAME)
        await tell(caller, type="digits", digits="1")
        await caller.send(FRAME)
        await caller.leave()
        await gone(house)
    assert heard == [FRAME, FRAME]


async def test_two_tasks_cannot_listen_at_once(autojump_clock: MockClock) -> None:
    async def bot(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, call.frames())
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(call.events())
            await call.send("checked")

    async with answered_by(bot, EVENTS) as (caller, house):
        assert json.loads(await caller.receive())["message"] == "checked"
        await caller.send(FRAME)
        assert (await hear(caller))[1] == 1000
        assert house.tally.handler_errors == 0


async def test_a_cancelled_wait_for_audio_loses_none(autojump_clock: MockClock) -> None:
    heard: list[bytes] = []

    async def bot(call: Call) -> None:
        frames = call.frames()
        while len(heard) < 20:
            with trio.move_on_after(0.013):
                heard.append(await anext(frames))

    frames = [number.to_bytes(2) * 160 for number in range(20)]
    async with answered_by(bot) as (caller, _):
        for frame in frames:
            await caller.send(frame)
            await trio.sleep(0.017)
        await hear(caller)
    assert heard == frames


async def test_a_handler_that_asks_on_and_on_after_the_end_holds_up_nobody(
    autojump_clock: MockClock,
) -> None:
    asked = 0

    async def bot(call: Call) -> None:
        nonlocal asked
        while True:
            asked += 1
            async for _ in call.frames():
                pass

    async with answered_by(bot) as (caller, house):
        await caller.leave()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert asked < 110
        autojump_clock.jump(GRACE_SECONDS)
        await gone(house)


@pytest.mark.parametrize("wrong", [
    lambda call: call.frames(8001), lambda call: call.frames(16000, 0),
    lambda call: call.events(8000, 0),
    lambda call: call.mark("heard-1"), lambda call: call.hang_up(1001),
    lambda call: call.hang_up(2999), lambda call: call.hang_up(5000),
    lambda call: call.hang_up(1000, "x" * 124), lambda call: call.hang_up(1000, "ä" * 62),
    lambda call: call.play(b"odd"), lambda call: call.play(FRAME, 8001),
    lambda call: call.play(FRAME, 0), lambda call: call.play(FRAME, -8000),
    lambda call: call.send_digits("1x"), lambda call: call.send(float("nan")),
])  # fmt: skip
async def test_a_wrong_argument_is_a_value_error(
    wrong: Callable[[Call], Any], autojump_clock: MockClock
) -> None:
    told = []

    async def bot(call: Call) -> None:
        with pytest.raises(ValueError, match=r"\w") as error:
            told.append(await wrong(call))
        told.append(str(error.value))

    async with answered_by(bot, EVENTS) as (caller, house):
        assert (await hear(caller))[1:] == (1000, "")
        assert house.tally.handler_errors == 0
        assert len(told) == 1


# To speak


@pytest.mark.parametrize(("rate", "plays"), [(None, 1), (24000, 1), (None, 500), (24000, 500)])
async def test_play_waits_while_five_seconds_wait(
    rate: int | None, plays: int, autojump_clock: MockClock
) -> None:
    most = took = 0.0

    async def bot(call: Call) -> None:
        nonlocal most, took

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, call.waiting / 1000)
                    await trio.sleep(0.011)

            began = trio.current_time()
            for _ in range(plays):
                await call.play(bytes(10 * 2 * (rate or 8000) // plays), rate)
            took = trio.current_time() - began
            nursery.cancel_scope.cancel()
        call.clear()

    async with answered_by(bot) as (caller, _):
        await hear(caller)
    assert PLAY_SECONDS - 0.2 < most <= PLAY_SECONDS + 0.21
    assert 10 - PLAY_SECONDS - 0.4 < took < 10 - PLAY_SECONDS + 0.1


@pytest.mark.parametrize("query", ["", "encoding=alaw", "sample_rate=48000&reply=ulaw", "lead=500"])
async def test_what_is_played_comes_in_frames_of_20_ms_by_the_clock(
    query: str, autojump_clock: MockClock
) -> None:
    async def bot(call: Call) -> None:
        await call.play(bytes(range(0, 250, 2)) * 4 * (call.rate // 1000))
        await call.heard()
        took.append(trio.current_time() - began)

    took: list[float] = []
    async with answered_by(bot, query) as (caller, _):
        began = trio.current_time()
        messages, code, reason = await hear(caller)
    assert (code, reason) == (1000, "")
    assert len({len(message) for message in messages[:-1]}) == 1
    samples = 250 * (48 if "48000" in query else 8)
    assert sum(map(len, messages)) == samples * (1 if "law" in query else 2)
    assert took == [pytest.approx(0.25, abs=0.021)]


async def test_a_handler_that_returns_hangs_up_once_all_was_heard(
    autojump_clock: MockClock,
) -> None:
    async def bot(call: Call) -> None:
        await call.play(SECOND)

    async with answered_by(bot) as (caller, house):
        began = trio.current_time()
        messages, code, _ = await hear(caller)
        assert b"".join(messages) == SECOND
        assert trio.current_time() - began == pytest.approx(1, abs=0.03)
        assert code == 1000
        assert await gone(house) == {"completed": 1}


@pytest.mark.parametrize("patient", [True, False])
async def test_with_events_the_caller_says_what_it_has_heard(
    patient: bool, autojump_clock: MockClock
) -> None:
    """Or says nothing: then the clock is believed, some seconds late."""
    heard_at: list[float] = []

    async def bot(call: Call) -> None:
        await call.play(FRAME * 5)
        await call.heard()
        heard_at.append(trio.current_time())

    async with answered_by(bot, EVENTS) as (caller, _):
        assert [await caller.receive() for _ in range(5)] == [FRAME] * 5
        mark = json.loads(await caller.receive())
        assert mark["type"] == "mark"
        await trio.sleep(PATIENCE_SECONDS - 0.1)  # the clock says that it was heard long ago
        assert heard_at == []
        if patient:
            await tell(caller, **mark)
        await hear(caller)
        assert len(heard_at) == 1


async def test_a_caller_that_is_held_need_not_say_what_it_has_heard(
    autojump_clock: MockClock,
) -> None:
    """Its mark is behind audio that the handler, who waits for the mark, does not hear."""
    heard: list[bytes] = []

    async def bot(call: Call) -> None:
        frames = call.frames()
        heard.append(await anext(frames))
        await call.play(SECOND * 4)
        call.mark("end")
        await call.heard()
        heard.extend([frame async for frame in frames])
        await call.send("never")

    async with answered_by(bot, EVENTS) as (caller, house), trio.open_nursery() as nursery:
        nursery.start_soon(hear, caller)
        for _ in range(500):
            await caller.send(FRAME)
        await caller.leave()
        assert await gone(house) == {"completed": 1}
    assert heard == [FRAME] * 500
    assert house.tally.frames_dropped == {"live": 0, "unheard": 0}


@pytest.mark.parametrize("seconds_before", [0, 5])
async def test_a_handler_that_has_left_its_loop_holds_its_caller_no_more(
    seconds_before: int, autojump_clock: MockClock
) -> None:
    async def bot(call: Call) -> None:
        async for _ in call.frames():
            await trio.sleep(seconds_before)  # meanwhile the caller is held
            break
        await trio.sleep_forever()

    async with answered_by(bot) as (caller, house):
        for _ in range(10):
            await caller.send(SECOND)
        await caller.leave()
        assert await gone(house) == {"completed": 1}
    assert house.tally.frames_dropped["unheard"] > 0


@pytest.mark.parametrize("query", ["", EVENTS])
async def test_clear_stops_at_once_and_says_how_much_was_heard(
    query: str, autojump_clock: MockClock
) -> None:
    told: list[float] = []

    async def bot(call: Call) -> None:
        await call.play(SECOND)
        await trio.sleep(0.3)
        told.append(call.clear())
        told.append(call.waiting)
        await trio.sleep(1)
        told.append(call.position)

    async with answered_by(bot, query) as (caller, house):
        messages, _, _ = await hear(caller)
    audio = [message for message in messages if isinstance(message, bytes)]
    sent = len(audio) * 20
    heard = 300 if query else sent
    assert 300 < sent <= 360
    assert told == [pytest.approx(heard, abs=6), 0, pytest.approx(heard, abs=6)]
    assert [json.loads(each) for each in messages if isinstance(each, str)] == (
        [{"type": "clear"}] if query else []
    )
    assert house.tally.clear_seconds.count == 1


async def test_clear_drops_the_rest_of_what_other_tasks_are_playing(
    autojump_clock: MockClock,
) -> None:
    async def bot(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.play, b"\1\0" * 8000 * 20)
            nursery.start_soon(call.play, b"\1\0" * 8000 * 20)
            await trio.sleep(1)
            call.clear()
            await call.play(b"\2\0" * 8000)

    async with answered_by(bot) as (caller, _):
        messages, code, _ = await hear(caller)
    spoken = b"".join(message for message in messages if isinstance(message, bytes))
    cut = spoken.index(b"\2\0")
    assert 1 <= cut / 16000 <= 1.1
    assert spoken[cut:] == b"\2\0" * 8000
    assert code == 1000


@pytest.mark.parametrize("seconds", [(6, 6, 6), (6, 0.1, 0.1)])
async def test_tasks_that_play_at_once_are_heard_one_after_the_other(
    seconds: tuple[float, ...], autojump_clock: MockClock
) -> None:
    sentences = [bytes([number, 0]) * int(8000 * long) for number, long in enumerate(seconds)]

    async def bot(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            for sentence in sentences:
                nursery.start_soon(call.play, sentence)
                for _ in range(3):
                    await trio.lowlevel.checkpoint()

    async with answered_by(bot) as (caller, _):
        messages, _, _ = await hear(caller)
    spoken = b"".join(messages)
    assert len(spoken) == sum(map(len, sentences))
    assert sum(one != two for one, two in zip(spoken[::2], spoken[2::2], strict=False)) == 2


@pytest.mark.parametrize("seconds", [0.02, 1])
async def test_a_play_that_was_cancelled_before_plays_nothing(
    seconds: float, autojump_clock: MockClock
) -> None:
    async def bot(call: Call) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await call.play(bytes(int(16000 * seconds)))
        assert scope.cancelled_caught

    async with answered_by(bot) as (caller, house):
        assert (await hear(caller))[0] == []
        assert house.tally.handler_errors == 0


async def test_a_cancelled_play_ends_within_its_audio_and_the_next_one_follows(
    autojump_clock: MockClock,
) -> None:
    async def bot(call: Call) -> None:
        with trio.move_on_after(1):
            await call.play(b"\1\0" * 8000 * 30)
        await call.play(b"\2\0" * 8000)

    async with answered_by(bot) as (caller, _):
        messages, code, _ = await hear(caller)
    spoken = b"".join(messages)
    assert spoken.index(b"\2\0") / 16000 == pytest.approx(6.2, abs=0.3)
    assert spoken.endswith(b"\2\0" * 8000)
    assert code == 1000


async def test_a_resampled_sentence_ends_before_what_follows(autojump_clock: MockClock) -> None:
    async def bot(call: Call) -> None:
        await call.play(bytes(2 * 2400), 24000)
        await call.play(b"\2\0" * 800)
        await call.play(bytes(2 * 1600), 16000)

    async with answered_by(bot) as (caller, _):
        messages, _, _ = await hear(caller)
    spoken = b"".join(messages)
    assert len(spoken) // 2 == pytest.approx(2400, abs=70)  # the resamplers' latency, twice
    assert b"\2\0" * 800 in spoken


# To send


async def test_messages_and_digits_go_to_callers_that_take_events(
    autojump_clock: MockClock,
) -> None:
    took: list[bool] = []

    async def bot(call: Call) -> None:
        took.append(await call.send({"a": [1, None]}))
        took.append(await call.send_digits("1#"))

    async with answered_by(bot, EVENTS) as (caller, _):
        messages, _, _ = await hear(caller)
        assert [json.loads(message) for message in messages] == [
            {"type": "message", "message": {"a": [1, None]}},
            {"type": "digits", "digits": "1#"},
        ]
    async with answered_by(bot) as (caller, _):
        assert await hear(caller) == ([], 1000, "")
    assert took == [True, True, False, False]


async def test_send_waits_for_a_caller_that_does_not_read(autojump_clock: MockClock) -> None:
    sent = 0

    async def bot(call: Call) -> None:
        nonlocal sent
        while True:
            await call.send("x" * 1000)
            sent += 1

    async with answered_by(bot, EVENTS, send_timeout_seconds=3) as (caller, house):
        await trio.sleep(2)
        assert 60 < sent < 70
        for _ in range(60):
            await caller.receive()
        await trio.sleep(1)
        assert 60 < sent < 140
        assert await gone(house) == {"stuck": 1}


# The end


async def play(call: Call) -> None:
    while True:
        await call.play(SECOND)


async def play_nothing(call: Call) -> None:
    while True:
        await call.play(b"")
        await trio.sleep(0.1)


async def heard(call: Call) -> None:
    while True:
        await call.play(FRAME)
        await call.heard()


async def send(call: Call) -> None:
    while True:
        if not await call.send("x" * 10_000):
            await trio.sleep(0.1)


async def mark(call: Call) -> None:
    while True:
        call.mark("x")
        await trio.sleep(0.1)


@pytest.mark.parametrize("query", ["", EVENTS])
@pytest.mark.parametrize("talk", [play, play_nothing, heard, send, mark])
async def test_a_handler_hears_that_its_caller_has_left_wherever_it_waits(
    talk: Bot, query: str, autojump_clock: MockClock
) -> None:
    over: list[object] = []

    async def bot(call: Call) -> None:
        try:
            await talk(call)
        except HungUp:
            over.append(trio.current_time())
            call.clear()  # these do nothing any more, and leave nothing behind
            call.hang_up()
            assert {event async for event in call.events()} <= {Mark("x")}
            raise

    async with answered_by(bot, query) as (caller, house):
        await trio.sleep(0.55)
        await caller.vanish()
        left = trio.current_time()
        assert list(await gone(house)) == ["aborted"]
        assert over == [pytest.approx(left, abs=0.2)]
        assert house.tally.handler_errors == 0
        assert house.handling is not None
        assert not house.handling.clock._ticks


async def test_iteration_ends_when_the_caller_leaves(autojump_clock: MockClock) -> None:
    ended = trio.Event()

    async def bot(call: Call) -> None:
        async for _ in call.frames():
            pass
        ended.set()

    async with answered_by(bot) as (caller, house):
        await trio.sleep(1)
        await caller.leave()
        await gone(house)
        assert ended.is_set()


async def test_a_handler_may_outlive_its_caller_by_some_seconds(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    async def bot(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with answered_by(bot) as (caller, house):
        await trio.sleep(1)
        await caller.leave()
        left = trio.current_time()
        assert await gone(house) == {"completed": 1}
        assert ended == [pytest.approx(left + GRACE_SECONDS, abs=0.1)]
        assert house.tally.handler_errors == 0


async def stubborn(call: Call) -> None:
    with suppress(BaseException):  # every handler's worst habit
        await trio.sleep_forever()


async def falls_over(call: Call) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ZeroDivisionError


async def falls_over_with_others(call: Call) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(falls_over, call)
        await trio.sleep_forever()


async def several_play(call: Call) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, call)
        nursery.start_soon(play, call)
        await trio.sleep_forever()


async def wait_shielded_and_play(call: Call) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(GRACE_SECONDS + 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await call.play(FRAME)


@pytest.mark.parametrize(("bot", "errors"), [
    (stubborn, 0), (falls_over, 1), (falls_over_with_others, 1), (several_play, 0),
    (wait_shielded_and_play, 0),
])  # fmt: skip
@pytest.mark.parametrize("end", ["leave", "drain"])
async def test_however_a_handler_takes_its_cancellation_its_call_ends(
    bot: Bot, errors: int, end: str, autojump_clock: MockClock
) -> None:
    async with answered_by(bot) as (caller, house):
        await trio.sleep(1)
        if end == "leave":
            await caller.vanish()
        else:
            await house.roster.dismiss()
        assert list(await gone(house)) == ["aborted" if end == "leave" else "drained"]
        assert house.tally.handler_errors == errors
        assert house.handling is not None
        assert not house.handling.clock._ticks


@pytest.mark.parametrize("bug", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
async def test_an_exception_closes_with_1011_and_is_logged_once_and_counted(
    bug: type[BaseException],
    set_up_logs: Callable[[str, str], None],
    capfd: pytest.CaptureFixture[str],
    autojump_clock: MockClock,
) -> None:
    async def bot(call: Call) -> None:
        await call.play(SECOND)
        raise bug

    set_up_logs("info", "json")
    async with answered_by(bot) as (caller, house):
        assert (await hear(caller))[1:] == (1011, "internal error")
        assert await gone(house) == {"error": 1}
        assert house.tally.handler_errors == 1
    lines = [line for line in entries(capfd) if line["level"] == "error"]
    assert [line["event"] for line in lines] == ["handler_failed"]
    assert len(lines[0]["session"]) == 12
    assert lines[0]["handler"] == "tests.peers.stand_in:answer"
    assert [each["exc_type"] for each in lines[0]["exception"]] == [bug.__name__]


async def test_sys_exit_in_a_handlers_own_task_ends_its_call_alone(
    autojump_clock: MockClock,
) -> None:
    async def leave() -> None:
        sys.exit()

    async def bot(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(leave)

    async with answered_by(bot) as (caller, house):
        assert (await hear(caller))[1:] == (1011, "internal error")
        assert await gone(house) == {"error": 1}
        assert house.tally.handler_errors == 1


@pytest.mark.parametrize("act", [
    lambda call: call.play(FRAME), lambda call: call.play(SECOND), lambda call: call.play(b""),
    lambda call: call.heard(), lambda call: call.send(1), lambda call: call.send_digits("1"),
])  # fmt: skip
async def test_a_handler_that_tries_on_and_on_after_the_end_holds_up_nobody(
    act: Callable[[Call], Awaitable[object]], autojump_clock: MockClock
) -> None:
    tries = 0

    async def bot(call: Call) -> None:
        nonlocal tries
        async for _ in call.frames():
            """Listen until the caller leaves."""
        while tries < 1000:
            tries += 1
            with suppress(Exception):  # a handler's second worst habit
                await act(call)

    async with answered_by(bot, EVENTS) as (caller, house):
        await caller.leave()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert 50 < tries < 110
        autojump_clock.jump(GRACE_SECONDS)
        await gone(house)


async def test_a_handler_that_plays_nothing_on_and_on_holds_up_nobody(
    autojump_clock: MockClock,
) -> None:
    tries = 0

    async def bot(call: Call) -> None:
        nonlocal tries
        while tries < 1000:
            tries += 1
            await call.play(b"")

    async with answered_by(bot):
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert 50 < tries < 110


async def test_what_json_cannot_say_is_the_handlers_error(autojump_clock: MockClock) -> None:
    async def bot(call: Call) -> None:
        await call.send(b"bytes")

    async with answered_by(bot, EVENTS) as (caller, house):
        assert (await hear(caller))[1] == 1011
        assert house.tally.handler_errors == 1


async def test_hang_up_ends_the_call_at_once_with_its_code_and_reason(
    autojump_clock: MockClock,
) -> None:
    over: list[bool] = []

    async def bot(call: Call) -> None:
        await call.play(SECOND)
        call.hang_up(4000, "ä" * 61)
        call.hang_up(4001)
        with pytest.raises(HungUp):
            await call.play(FRAME)
        over.append(True)

    async with answered_by(bot) as (caller, house):
        messages, code, reason = await hear(caller)
        assert (code, reason) == (4000, "ä" * 61)
        assert len(messages) <= 4
        assert await gone(house) == {"completed": 1}
        assert over == [True]


async def test_in_a_drain_a_handler_may_say_goodbye(autojump_clock: MockClock) -> None:
    async def bot(call: Call) -> None:
        assert not call.draining.is_set()
        await call.draining.wait()
        await call.play(b"\1\0" * 160)

    async with answered_by(bot) as (caller, house):
        await trio.sleep(1)
        house.roster.drain(60)
        assert await caller.receive() == b"\1\0" * 160
        assert await caller.hung_up() == (1000, "")
        assert await gone(house) == {"completed": 1}


async def test_a_handler_knows_who_calls(autojump_clock: MockClock) -> None:
    known: list[object] = []

    async def bot(call: Call) -> None:
        known.extend([call.peer, call.encoding, call.rate, dict(call.parameters), len(call.id)])

    async with answered_by(bot, "encoding=alaw&sample_rate=16000&x=y") as (caller, _):
        await hear(caller)
    parameters = {"encoding": "alaw", "sample_rate": "16000", "x": "y"}
    assert known == ["test", "alaw", 16000, parameters, 12]
