"""What a call with a handler does, whatever carries it: one suite over every link."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from service import codec
from service.handlers import Call, Digits, Message
from tests.calls.test_calls import ends_as, every_link
from tests.peers import callers, stand_in
from tests.peers.callers import Caller, StreamCaller
from tests.peers.calling import KINDS, calling, over
from tests.peers.serving import serving

FRAME = bytes(320)
EVENTS = "events=json"


async def greeted(caller: Caller) -> dict[str, Any]:
    started: dict[str, Any] = json.loads(await caller.receive())
    assert started["type"] == "started"
    return started


async def hear(caller: Caller) -> tuple[list[Any], int | None, str]:
    """Return all that the service says, and the code and reason of its end."""
    messages = []
    with trio.fail_after(20):
        while True:
            try:
                messages.append(await caller.receive())
            except callers.HungUp as end:
                return messages, end.code, end.reason


async def parrot(call: Call) -> None:
    async for event in call.events():
        if isinstance(event, bytes):
            await call.play(event)
        elif isinstance(event, Digits):
            await call.send_digits(event.digits)
        elif isinstance(event, Message):
            await call.send(event.data)


@every_link
async def test_a_handler_hears_and_speaks(kind: str) -> None:
    frames = [bytes([number]) * 320 for number in range(5)]
    async with calling(kind, "", parrot) as (caller, house):
        for frame in frames:
            assert await caller.ask(frame) == frame
        await caller.leave()
        await ends_as("completed", house)


@every_link
async def test_a_long_frame_is_heard_whole(kind: str) -> None:
    """In pieces, that is, between which others have their turns."""
    short, long = os.urandom(160), os.urandom(300_000)
    heard = b""

    async def bot(call: Call) -> None:
        nonlocal heard
        async for some in call.frames():
            if not heard:
                await call.play(some)  # from now on nothing is dropped
            heard += some

    async with calling(kind, "encoding=alaw", bot) as (caller, house):
        assert await caller.ask(short) == short
        await caller.send(long)
        await caller.leave()
        await ends_as("completed", house)
    assert heard == codec.choose(law="alaw").decode(short + long)


@every_link
async def test_text_messages_go_both_ways(kind: str) -> None:
    async with calling(kind, EVENTS, parrot) as (caller, house):
        await greeted(caller)
        for event in ({"type": "digits", "digits": "1"}, {"type": "message", "message": [1]}):
            assert json.loads(str(await caller.ask(json.dumps(event)))) == event
        await caller.leave()
        await ends_as("completed", house)


@pytest.mark.parametrize("kind", [over("memory"), "pump"])
@pytest.mark.parametrize(("text", "reason"), [
    ("hello", "a text message must be JSON"),
    ("[" * 65_536, "a text message must be JSON"),
    ('{"type": "dance"}', "a text message must be a mark, cleared, digits or message event"),
    ('{"type": "cleared", "milliseconds": NaN}', "a text message must be JSON"),
])  # fmt: skip
async def test_a_text_message_that_is_no_event_ends_the_call_with_1003(
    kind: str, text: str, reason: str
) -> None:
    async with calling(kind, "", parrot) as (caller, house):
        await caller.send(text)
        assert await caller.hung_up() == (1003, reason)
        await ends_as("rejected", house)


@every_link
async def test_a_mebibyte_of_nesting_is_too_large(kind: str) -> None:
    async with calling(kind, "", parrot) as (caller, house):
        await caller.send("[" * (1 << 20))
        assert (await caller.hung_up())[0] == 1009
        await ends_as("rejected", house)


@every_link
async def test_a_caller_that_is_faster_than_its_handler_waits_and_loses_nothing(kind: str) -> None:
    heard: list[bytes] = []

    async def slow(call: Call) -> None:
        async for frame in call.frames():
            heard.append(frame)
            if len(heard) % 50 == 0:
                await trio.sleep(0.01)
        await call.send("never")

    frames = [number.to_bytes(2) * 160 for number in range(1000)]
    async with calling(kind, "", slow) as (caller, house):
        for frame in frames:
            await caller.send(frame)
        await caller.leave()
        await ends_as("completed", house)
        assert await house.metric('rt_audio_frames_dropped_total{reason="unheard"}') == 0
    assert heard == frames


@every_link
async def test_a_caller_that_is_held_longer_than_it_may_be_idle_is_not_idle(kind: str) -> None:
    count = 0

    async def late(call: Call) -> None:
        nonlocal count
        frames = call.frames()
        await anext(frames)
        await trio.sleep(1)
        async for _ in frames:
            count += 1

    async with calling(kind, "", late, idle_seconds=0.3) as (caller, house):
        for _ in range(200):
            await caller.send(FRAME)
        await caller.leave()
        await ends_as("completed", house)
    assert count == 199


@every_link
async def test_a_caller_that_is_live_loses_the_oldest(kind: str) -> None:
    heard: list[bytes] = []
    go_on = trio.Event()

    async def late(call: Call) -> None:
        async for frame in call.frames():
            heard.append(frame)
            await go_on.wait()

    frames = [number.to_bytes(2) * 160 for number in range(1000)]
    async with calling(kind, "live=true", late) as (caller, house):
        for frame in frames:
            await caller.send(frame)
        with trio.fail_after(10):
            while await house.metric('rt_audio_frames_total{direction="inbound"}') < 1000:
                await trio.lowlevel.checkpoint()
        go_on.set()
        await caller.leave()
        await ends_as("completed", house)
        lost = await house.metric('rt_audio_frames_dropped_total{reason="live"}')
    assert heard == [frames[0], *frames[-100:]] or heard == frames[-100:]
    assert lost == 1000 - len(heard)


@every_link
async def test_all_that_was_said_comes_before_the_end(kind: str) -> None:
    """More than the sockets take at once, for a caller that is slow to read."""

    async def bot(call: Call) -> None:
        for number in range(60):
            await call.send([number, "x" * 50_000])
        call.hang_up(4000, "done")

    async with calling(kind, EVENTS, bot) as (caller, house):
        await greeted(caller)
        with trio.move_on_after(0.1):
            await trio.sleep_forever()
        messages, code, reason = await hear(caller)
        assert [json.loads(message)["message"][0] for message in messages] == list(range(60))
        assert (code, reason) == (4000, "done")
        await ends_as("completed", house)


@every_link
async def test_the_shortest_handler_says_what_it_says_before_the_end(kind: str) -> None:
    async def bot(call: Call) -> None:
        await call.send("hi")

    async with calling(kind, EVENTS, bot) as (caller, house):
        await greeted(caller)
        messages, code, _ = await hear(caller)
        assert [json.loads(message)["message"] for message in messages] == ["hi"]
        assert code == 1000
        await ends_as("completed", house)


async def talks_on(call: Call) -> None:
    while True:
        await call.play(FRAME)
        await call.send("x" * 60_000)


async def goes_away(call: Call) -> None:
    for _ in range(500):
        with trio.move_on_after(0.05):
            await call.send("x" * 60_000)


@pytest.mark.parametrize(
    ("kind", "bot"),
    [*(over(kind, talks_on) for kind in KINDS), over("memory", goes_away), ("pump", goes_away)],
)
async def test_a_caller_that_stops_reading_while_a_handler_speaks_ends_as_stuck(
    kind: str, bot: Callable[[Call], Any]
) -> None:
    async with calling(kind, EVENTS, bot, send_timeout_seconds=0.3) as (_, house):
        await ends_as("stuck", house)


@every_link
async def test_a_caller_that_vanishes_while_a_handler_speaks_is_aborted(kind: str) -> None:
    async def bot(call: Call) -> None:
        while True:
            await call.play(FRAME)

    async with calling(kind, "", bot) as (caller, house):
        await caller.receive()
        await caller.vanish()
        await ends_as("aborted", house)


@every_link
async def test_a_handlers_bug_ends_its_call_with_1011(kind: str) -> None:
    async def bot(call: Call) -> None:
        await anext(call.frames())
        raise ZeroDivisionError

    async with calling(kind, "", bot) as (caller, house):
        await caller.send(FRAME)
        assert await caller.hung_up() == (1011, "internal error")
        await ends_as("error", house)
        assert await house.metric("rt_audio_handler_errors_total") == 1


@every_link
async def test_a_clear_reaches_the_caller_and_its_answer_the_handler(kind: str) -> None:
    told: list[int] = []

    async def bot(call: Call) -> None:
        await call.play(FRAME * 100)
        async for event in call.events():
            if isinstance(event, Digits):
                call.clear()
            else:
                told.append(call.position)
                return

    async with calling(kind, EVENTS, bot) as (caller, house):
        await greeted(caller)
        assert await caller.receive() == FRAME
        await caller.send('{"type": "digits", "digits": "*"}')
        with trio.fail_after(5):
            while (message := await caller.receive()) == FRAME:
                pass
        assert json.loads(str(message)) == {"type": "clear"}
        await caller.send('{"type": "cleared", "milliseconds": 7}')
        await caller.send('{"type": "message", "message": null}')
        messages, code, _ = await hear(caller)
        assert (messages, code) == ([], 1000)
        await ends_as("completed", house)
    assert told == [7]


@pytest.mark.parametrize("kind", ["stream", "pump", "tls"])
async def test_nothing_is_said_behind_the_close_frame(kind: str) -> None:
    """A caller that is slow to answer it, and a handler that has not heard of it yet."""

    async def bot(call: Call) -> None:
        while True:
            await call.play(FRAME)
            with suppress(trio.TooSlowError), trio.fail_after(0.01):
                await call.heard()

    async with calling(kind, "", bot) as (caller, _):
        assert isinstance(caller, StreamCaller)
        await caller.receive()
        caller.protocol.send_binary(b"odd")
        await caller.flush()
        data = b""
        with trio.fail_after(5):
            while some := await caller.stream.receive_some():
                data += bytes(some)
        close = data.rindex(b"\x88")
        assert len(data) == close + 2 + data[close + 1]


async def test_a_rate_that_no_handler_could_ask_for_is_a_bad_parameter() -> None:
    async with serving(handler=stand_in.put(parrot)) as service:
        status, body = await service.get(
            "/ws/audio?sample_rate=9000",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        )
        assert status == 400
        assert json.loads(body)["parameter"] == "sample_rate"
