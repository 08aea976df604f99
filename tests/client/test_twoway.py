"""Our client in two-way calls: against scripted services on a virtual clock, and a real handler."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection

from service.audio.wav import Audio
from service.client import stream as client
from service.client import twoway
from service.client.dial import ClientError, UnreachableError
from service.client.messages import ClosedError
from service.client.roundtrips import Report
from service.client.twoway import LISTEN_SECONDS, HandlerError
from tests.peers.bots import tone
from tests.peers.services import Service, Use, talking
from tests.peers.serving import start

HALF = Audio(tone(0.5), 8000)
URL = "ws://service.test/ws/audio"
FRAME = bytes(range(160)) * 2
Clock = trio.testing.MockClock


class Bot:
    """A service that begins two-way calls; what it hears is kept with the time."""

    def __init__(self, script: Callable[["Bot"], Awaitable[None]], **terms: Any) -> None:
        self._script = script
        self._started = {"type": "started", "id": "1", "handler": True, "codec": "numpy",
                         "encoding": "pcm16", "reply": "pcm16", "sample_rate": 8000,
                         "reply_rate": 8000}  # fmt: skip
        self._started |= terms
        self.began = 0.0
        self.audio: list[bytes] = []
        self.told: list[tuple[float, Any]] = []
        self.closed: Any = None

    def service(self) -> Service:
        return talking(self._talk, (b"RT-Audio-Session", b"1"))

    async def _talk(self, ws: WebSocketConnection) -> None:
        self.ws, self.began = ws, trio.current_time()
        await self.say(**self._started)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            await self._script(self)

    async def _hear(self) -> None:
        try:
            while True:
                message = await self.ws.get_message()
                if isinstance(message, bytes):
                    self.audio.append(message)
                else:
                    self.told.append((self.passed, json.loads(message)))
        except ConnectionClosed as closed:
            self.closed = closed.reason.code if closed.reason else None

    @property
    def passed(self) -> float:
        return round(trio.current_time() - self.began, 3)

    async def say(self, **event: Any) -> None:
        await self.ws.send_message(json.dumps(event))

    async def play(self, frames: int) -> None:
        for _ in range(frames):
            await self.ws.send_message(FRAME)


async def talk(use: Use, bot: Bot, **options: Any) -> tuple[Report, list[str]]:
    """Call the bot; return the report, and what was printed."""
    use(bot.service())
    said: list[str] = []
    stream = client.Stream(HALF, URL, on_message=said.append, **options)
    report = await stream.run()
    with trio.move_on_after(0.001):  # so that the bot sees the close
        await trio.sleep_forever()
    return report, said


async def test_a_mark_returns_when_the_audio_before_it_was_played(
    use: Use, autojump_clock: Clock
) -> None:
    async def script(bot: Bot) -> None:
        await bot.play(25)  # half a second at once
        await bot.say(type="mark", name="one")
        await bot.say(type="mark", name="two")
        await trio.sleep(2)
        await bot.say(type="mark", name="late")
        await bot.play(5)

    bot = Bot(script)
    report, _ = await talk(use, bot)
    assert bot.told == [
        (0.5, {"type": "mark", "name": "one"}),
        (0.5, {"type": "mark", "name": "two"}),
        (2.0, {"type": "mark", "name": "late"}),
    ]
    assert report.audio == Audio(FRAME * 30, 8000)
    assert report.heard is not None
    assert report.heard.marks == 3


async def test_what_is_cleared_is_cut_and_its_marks_do_not_return(
    use: Use, autojump_clock: Clock
) -> None:
    async def script(bot: Bot) -> None:
        await bot.play(50)
        await bot.say(type="mark", name="never")
        await trio.sleep(0.25)
        await bot.say(type="clear")
        await trio.sleep(1)
        await bot.play(5)
        await trio.sleep(1)
        await bot.say(type="clear")

    bot = Bot(script)
    report, _ = await talk(use, bot)
    assert bot.told == [
        (0.25, {"type": "cleared", "milliseconds": 250}),
        (2.25, {"type": "cleared", "milliseconds": 350}),
    ]
    assert report.audio == Audio((FRAME * 50)[:4000] + FRAME * 5, 8000)
    assert report.heard is not None
    assert (report.heard.clears, report.heard.cleared_seconds) == (2, 0.75)


@pytest.mark.parametrize(
    ("encoding", "silence"), [("pcm16", b"\0"), ("ulaw", b"\xff"), ("alaw", b"\xd5")]
)
async def test_after_the_audio_silence_is_sent_until_nothing_was_heard_for_long(
    use: Use, autojump_clock: Clock, encoding: str, silence: bytes
) -> None:
    async def script(bot: Bot) -> None:
        await trio.sleep(3)
        await bot.play(50)

    bot = Bot(script, encoding=encoding)
    report, _ = await talk(use, bot, encoding=encoding)
    size = 320 if encoding == "pcm16" else 160
    speech, rest = bot.audio[:25], bot.audio[25:]
    assert sum(map(len, speech)) == HALF.seconds * 50 * size
    assert set(rest) == {silence * size}
    assert bot.closed == 1000
    assert bot.passed == pytest.approx(3 + 1 + LISTEN_SECONDS, abs=0.03)
    assert report.heard is not None
    assert report.heard.ending == "nothing was heard for 5 s"
    assert report.heard.sent_seconds == 0.5
    assert report.heard.silence_seconds == pytest.approx(8.5, abs=0.03)


@pytest.mark.parametrize(("event", "ends"), [
    ({"type": "mark", "name": "heard-at-1"}, 0.5),
    ({"type": "clear"}, 0.5),
    ({"type": "message", "message": 1}, 9.0),
    ({"type": "digits", "digits": "1"}, 9.0),
])  # fmt: skip
async def test_only_what_a_person_would_see_counts_as_heard(
    use: Use, autojump_clock: Clock, event: dict[str, Any], ends: float
) -> None:
    async def script(bot: Bot) -> None:
        for _ in range(9):
            await trio.sleep(1)
            await bot.say(**event)

    bot = Bot(script)
    await talk(use, bot)
    assert bot.passed == pytest.approx(ends + LISTEN_SECONDS, abs=0.03)


async def test_a_handler_that_sends_our_own_silence_back_does_not_keep_the_call(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twoway, "LISTEN_SECONDS", 0.3)
    service = await start(nursery, handler="tests.peers.bots:echo")
    for reply in ("pcm16", "alaw"):
        report = await client.Stream(HALF, service.url, reply=reply, on_message=print).run()
        assert report.audio.seconds > 0.5
        assert report.heard is not None
        assert report.heard.ending == "nothing was heard for 0.3 s"


async def test_a_fast_stream_sends_its_silence_in_real_time(
    use: Use, autojump_clock: Clock
) -> None:
    bot = Bot(lambda bot: bot.play(0))
    await talk(use, bot, speed=10)
    assert len(bot.audio) == pytest.approx(25 + (bot.passed - 0.05) / 0.02, abs=2)


async def test_a_handler_may_hang_up_and_give_a_reason(use: Use, autojump_clock: Clock) -> None:
    async def script(bot: Bot) -> None:
        await trio.sleep(0.25)
        await bot.ws.aclose(1000, "goodbye")

    report, _ = await talk(use, Bot(script))
    assert report.heard is not None
    assert report.heard.ending == "the service hung up: goodbye"
    assert report.heard.sent_seconds < 0.5


async def test_any_other_close_is_an_error(use: Use, autojump_clock: Clock) -> None:
    async def script(bot: Bot) -> None:
        await bot.play(5)
        await trio.sleep(0.25)
        await bot.ws.aclose(4000, "no credit")

    use(Bot(script).service())
    stream = client.Stream(HALF, URL, on_message=print)
    with pytest.raises(ClosedError, match=r"4000 \(no credit\) after 0\.3 s were sent and 0\.1 s"):
        await stream.run()
    heard = stream.report().heard
    assert heard is not None
    assert stream.report().audio == Audio(FRAME * 5, 8000)


async def test_messages_and_digits_are_shown_and_unknown_events_are_not(
    use: Use, autojump_clock: Clock
) -> None:
    async def script(bot: Bot) -> None:
        await bot.say(type="message", message={"text": "gr\u00fc\u00df\x1b[2J"})
        await bot.say(type="digits", digits="12#")
        await bot.say(type="weather", sun=True)
        await bot.ws.send_message("nonsense")
        await bot.ws.send_message("[]")

    report, said = await talk(use, Bot(script))
    assert said == ['message: {"text": "gr\u00fc\u00df\\u001b[2J"}', "digits: 12#"]
    assert report.heard is not None
    assert report.heard.messages == 1
    assert len(report.heard.skipped) == 3


async def test_digits_are_pressed_once_the_audio_has_begun(use: Use, autojump_clock: Clock) -> None:
    bot = Bot(lambda bot: bot.play(1))
    await talk(use, bot, digits="12#")
    assert bot.told == [(0.0, {"type": "digits", "digits": "12#"})]


async def test_an_echo_hears_no_digits(nursery: trio.Nursery) -> None:
    service = await start(nursery)
    with pytest.raises(HandlerError, match="digits are for a handler, and none answers"):
        await client.Stream(HALF, service.url, on_message=print, digits="1").run()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "a handler answers, and it does not reply to each frame"),
        ({"on_message": print, "reconnect": True}, "a lost talk cannot go on in another call"),
    ],
)
async def test_a_two_way_call_that_was_not_meant(
    use: Use, autojump_clock: Clock, options: dict[str, Any], sentence: str
) -> None:
    use(Bot(lambda bot: bot.play(1)).service())
    with pytest.raises(HandlerError, match=sentence):
        await client.Stream(HALF, URL, **options).run()


async def test_a_service_whose_terms_are_not_to_be_read(use: Use, autojump_clock: Clock) -> None:
    use(Bot(lambda bot: bot.play(1), reply="opus").service())
    with pytest.raises(HandlerError, match="without saying its terms"):
        await client.Stream(HALF, URL, on_message=print).run()


async def test_a_service_that_does_not_say_who_answers(use: Use, autojump_clock: Clock) -> None:
    async def silent(ws: WebSocketConnection) -> None:
        await trio.sleep_forever()

    async def other(ws: WebSocketConnection) -> None:
        await ws.send_message(b"ab")
        await trio.sleep_forever()

    use(talking(silent, (b"RT-Audio-Session", b"1")))
    with pytest.raises(UnreachableError, match="did not begin the call within 10 seconds"):
        await client.Stream(HALF, URL).run()
    use(talking(other, (b"RT-Audio-Session", b"1")))
    with pytest.raises(ClientError, match="another message than `started`"):
        await client.Stream(HALF, URL).run()


# A real handler


async def test_a_real_handler_is_heard_to_the_end_and_hangs_up(nursery: trio.Nursery) -> None:
    service = await start(nursery, handler="tests.peers.bots:announce")
    said: list[str] = []
    report = await client.Stream(HALF, service.url, on_message=said.append).run()
    assert report.audio == Audio(tone(0.3), 8000)
    assert said == ['message: {"heard": 300}']
    assert report.heard is not None
    assert report.heard.ending == "the service hung up"


async def test_a_handlers_bug_ends_the_call_with_1011(nursery: trio.Nursery) -> None:
    service = await start(nursery, handler="tests.peers.bots:broken")
    with pytest.raises(ClosedError, match="closed with 1011"):
        await client.Stream(HALF, service.url, on_message=print).run()
