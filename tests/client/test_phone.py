"""A fake telephone against scripted bots, each of which speaks the service's half of a dialect."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection

from service.audio.encodings import BYTES_PER_SAMPLE, SILENCE
from service.audio.resample import Resampler
from service.audio.wav import Audio
from service.client import twoway
from service.client.dial import ClientError, ConnectError
from service.client.messages import ClosedError
from service.client.phone import Phone, PhoneError, PhoneReport
from service.client.request import converted
from service.dialects import twilio
from service.dialects.book import DIALECTS
from service.dialects.events import (
    Alive,
    Clear,
    Digits,
    Event,
    Fault,
    Format,
    Mark,
    Start,
    Stop,
)
from service.dialects.half import Dialect
from tests.peers.bots import tone
from tests.peers.services import Use, talking
from tests.peers.serving import start

TWILIO = twilio.DIALECT
HALF = Audio(tone(0.5), 8000)
URL = "ws://bot.test/ws/any"
Clock = trio.testing.MockClock
Script = Callable[["Bot"], Awaitable[None]]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


class Bot:
    """What it hears is kept: frames, and events with the time since the start."""

    def __init__(self, dialect: Dialect, script: Script) -> None:
        self.half, self._script = dialect.service({}), script
        self.frames: list[bytes] = []
        self.heard: list[tuple[float, Event]] = []
        self.closed: int | None = None

    async def talk(self, ws: WebSocketConnection) -> None:
        self.ws, self._began = ws, trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            await self._script(self)

    async def _hear(self) -> None:
        try:
            while True:
                told = self.half.hear(await self.ws.get_message())
                for each in (told,) if isinstance(told, bytes) else told:
                    if isinstance(each, bytes):
                        self.frames.append(each)
                    else:
                        self.heard.append((round(trio.current_time() - self._began, 3), each))
        except ConnectionClosed as closed:
            self.closed = closed.reason.code if closed.reason else None

    @property
    def start(self) -> Start:
        [start] = [event for _, event in self.heard if isinstance(event, Start)]
        return start

    @property
    def digits(self) -> str:
        return "".join(event.digits for _, event in self.heard if isinstance(event, Digits))

    async def say(self, event: Event) -> None:
        for message in self.half.say(event):
            await self.ws.send_message(message)

    async def play(self, seconds: float) -> None:
        """Play frames of 20 ms."""
        played = self.start.played
        size = played.rate // 50 * BYTES_PER_SAMPLE[played.encoding]
        for _ in range(round(seconds * 50)):
            await self.ws.send_message(self.half.audio(b"\x20" * size))


async def nothing(bot: Bot) -> None:
    pass


def says_digits(dialect: Dialect) -> bool:
    usual = dialect.formats[0]
    return bool(dialect.peer(Start(usual, usual)).say(Digits("1")))


async def call(
    use: Use, dialect: Dialect, script: Script, audio: Audio = HALF, **options: Any
) -> tuple[Bot, PhoneReport]:
    """Call a bot."""
    bot = Bot(dialect, script)
    use(talking(bot.talk))
    report = await Phone(audio, URL, dialect, **options).run()
    with trio.move_on_after(0.001):  # so that the bot sees the close
        await trio.sleep_forever()
    return bot, report


@every_dialect
async def test_a_bot_hears_a_call_from_its_start_to_its_stop(
    use: Use, autojump_clock: Clock, dialect: Dialect
) -> None:
    usual = dialect.formats[0]
    digits = "12#" if says_digits(dialect) else ""
    odd = Audio(tone(0.5, usual.rate) + bytes(6), usual.rate)  # the last frame is not whole
    bot, report = await call(
        use, dialect, nothing, odd, from_="+1", to="+2", parameters={"name": "Jane"}, digits=digits
    )
    assert (bot.start.heard, bot.start.played) == (usual, usual) == (report.format, report.format)
    assert (bot.start.from_, bot.start.to) == ("+1", "+2")
    assert bot.start.parameters["name"] == "Jane"
    assert bot.digits == digits
    assert (bot.heard[-1][1] == Stop()) == bool(dialect.peer(bot.start).say(Stop()))
    # A cause, such as 16, is a protocol error to wsproto.
    assert bot.closed == (1002 if dialect.hangup_causes else 1000)
    assert report.dialect == dialect.name
    assert report.heard.ending == "nothing was heard for 5 s"
    said = converted(odd, usual.encoding).data
    samples = round(usual.rate * (dialect.frame_seconds or 0.02))
    frame = samples * BYTES_PER_SAMPLE[usual.encoding]
    assert {*map(len, bot.frames)} == {frame}
    whole = len(said) // frame + 1
    assert b"".join(bot.frames[:whole]) == said.ljust(whole * frame, SILENCE[usual.encoding])
    assert {*bot.frames[whole:]} == {SILENCE[usual.encoding] * frame}
    assert report.heard.sent_seconds == pytest.approx(whole * frame / len(said) * odd.seconds)


async def test_two_calls_have_other_ids(use: Use, autojump_clock: Clock) -> None:
    ids = set()
    for _ in range(2):
        bot, _ = await call(use, TWILIO, nothing)
        ids |= {bot.start.stream_id, bot.start.call_id}
    assert len(ids) == 4


@every_dialect
async def test_marks_are_given_back_when_they_are_heard_or_cleared(
    use: Use, autojump_clock: Clock, dialect: Dialect
) -> None:
    async def script(bot: Bot) -> None:
        await trio.sleep(0.1)
        await bot.play(0.5)
        await bot.say(Mark("heard"))
        await bot.play(0.5)
        await bot.say(Mark("cut"))
        await trio.sleep(0.75)
        await bot.say(Clear())

    bot, report = await call(use, dialect, script)
    assert (report.heard.clears == 1) == (report.heard.marks == 1) == bot.half.clears
    if not bot.half.marks:
        assert report.audio.seconds == 1
        return
    marks = [(at, event) for at, event in bot.heard if isinstance(event, Mark)]
    assert marks[0] == (0.6, Mark("heard"))
    assert marks[1:] == ([(0.85, Mark("cut"))] if dialect.returns_marks else [])
    assert report.heard.cleared_seconds == pytest.approx(0.25)
    assert report.audio.seconds == pytest.approx(0.75)


@pytest.mark.parametrize("source", ["pcm16", "alaw"])
async def test_a_file_of_another_rate_and_encoding_is_made_to_fit(
    use: Use, autojump_clock: Clock, source: str
) -> None:
    wide = converted(Audio(tone(0.5, 16000), 16000), source)
    bot, report = await call(use, TWILIO, nothing, wide)
    resampler = Resampler(16000, 8000)
    pcm = resampler.convert(converted(wide, "pcm16").data) + resampler.flush()
    assert b"".join(bot.frames).startswith(converted(Audio(pcm, 8000), "ulaw").data)
    assert report.heard.sent_seconds == pytest.approx(0.5, abs=0.021)


WIDE = replace(TWILIO, formats=(Format("ulaw", 8000), Format("ulaw", 16000)))


@pytest.mark.parametrize(
    ("encoding", "rate", "index"),
    [(None, None, 0), ("ulaw", None, 0), (None, 16000, 1), ("ulaw", 16000, 1)],
)
def test_the_format_is_the_first_that_fits(
    encoding: str | None, rate: int | None, index: int
) -> None:
    phone = Phone(HALF, URL, WIDE, encoding=encoding, sample_rate=rate)
    assert phone.report().format == WIDE.formats[index]


@every_dialect
def test_a_dialect_can_hold_a_call_in_each_of_its_formats(dialect: Dialect) -> None:
    for each in dialect.formats:
        phone = Phone(HALF, URL, dialect, encoding=each.encoding, sample_rate=each.rate)
        assert phone.report().format == each


@every_dialect
def test_the_url_says_what_the_start_cannot(dialect: Dialect) -> None:
    for each in dialect.formats:
        phone = Phone(HALF, URL, dialect, encoding=each.encoding, sample_rate=each.rate)
        service = dialect.service(dict(parse_qsl(phone.address.query)))
        start = Start(each, each, "stream", "call")
        messages = [*dialect.peer(start).say(start), dialect.peer(start).audio(bytes(320))]
        heard = [item for message in messages for item in service.hear(message)]
        [begun] = [item for item in heard if isinstance(item, Start)]
        assert (begun.heard, begun.played) == (each, each)


class Dumb(twilio.Provider):
    """A provider without digits."""

    def say(self, event: Event) -> Any:
        return () if isinstance(event, Digits) else super().say(event)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"encoding": "alaw"}, PhoneError, "twilio has audio in ulaw at 8000 Hz, ulaw at 16000"),
        ({"encoding": "ulaw", "sample_rate": 24000}, PhoneError, "twilio has audio in"),
        ({"audio": Audio(bytes(2), 9600)}, PhoneError, "a file with 9600 Hz cannot be resampled"),
        ({"dialect": replace(TWILIO, peer=Dumb), "digits": "1"}, PhoneError, "cannot say digits"),
        ({"url": "http://bot.test"}, ConnectError, "is not a WebSocket address"),
        (
            {"url": f"{URL}?sample_rate=16000", "dialect": DIALECTS["freeswitch"]},
            PhoneError,
            "sample_rate=16000 in the URL contradicts the format, for which it must be 8000",
        ),
        ({"token": "a b"}, ConnectError, "the token cannot be sent"),
    ],
)
def test_a_call_that_cannot_be_made(
    options: dict[str, Any], error: type[ClientError], sentence: str
) -> None:
    defaults: dict[str, Any] = {"audio": HALF, "url": URL, "dialect": WIDE}
    with pytest.raises(error, match=sentence):
        Phone(**defaults | options)


@pytest.mark.parametrize(
    ("audio", "milliseconds", "size"),
    [
        (Audio(bytes(2), 8000), 20, 160),  # one sample
        (HALF, 100, 800),
        (HALF, 1e308, 4000),  # as long as the audio
    ],
)
async def test_frames_have_the_length_asked_for(
    use: Use, autojump_clock: Clock, audio: Audio, milliseconds: float, size: int
) -> None:
    bot, _ = await call(use, TWILIO, nothing, audio, frame_ms=milliseconds)
    assert {*map(len, bot.frames)} == {size}


async def test_a_fast_call_has_silence_in_real_time(use: Use, autojump_clock: Clock) -> None:
    bot, report = await call(use, TWILIO, nothing, speed=10)
    assert report.heard.silence_seconds == pytest.approx(5, abs=0.03)
    assert bot.heard[-1][0] == pytest.approx(5.05, abs=0.03)


async def test_a_message_that_ends_calls_ends_this_one_with_its_code(
    use: Use, autojump_clock: Clock
) -> None:
    async def script(bot: Bot) -> None:
        await bot.ws.send_message(b"binary")
        await trio.sleep(1)

    bot = Bot(TWILIO, script)
    use(talking(bot.talk))
    phone = Phone(HALF, URL, TWILIO)
    with pytest.raises(ClientError, match=r"^ws://bot.test/ws/any sent a wrong message: a mess"):
        await phone.run()
    with trio.move_on_after(0.001):
        await trio.sleep_forever()
    assert bot.closed == 1003


async def test_any_other_wrong_message_is_told_in_the_report(
    use: Use, autojump_clock: Clock
) -> None:
    async def script(bot: Bot) -> None:
        await bot.ws.send_message('{"event": "weather\x7f"}')
        await bot.ws.send_message('{"event": "mark"}')

    _, report = await call(use, TWILIO, script)
    assert len(report.heard.skipped) == 2
    assert "\x7f" not in report.heard.skipped[0]


async def test_a_close_that_is_no_hang_up_is_an_error(use: Use, autojump_clock: Clock) -> None:
    use(talking(lambda ws: ws.aclose(1011, "broken")))
    with pytest.raises(ClosedError, match=r"closed with 1011 \(broken\)"):
        await Phone(HALF, URL, TWILIO).run()


async def test_a_telephone_that_is_asked_whether_it_is_there_answers(
    use: Use, autojump_clock: Clock
) -> None:
    asterisk = DIALECTS["asterisk"]
    half = asterisk.service({})
    answers: list[str] = []

    async def ask(ws: WebSocketConnection) -> None:
        half.hear(await ws.get_message())
        for message in half.say(Alive()):
            await ws.send_message(message)
        while not answers:
            if isinstance(message := await ws.get_message(), str):
                answers.append(json.loads(message)["event"])
        await ws.aclose(1000)

    use(talking(ask))
    await Phone(HALF, URL, asterisk).run()
    assert answers == ["STATUS"]


class Obedient(twilio.Provider):
    """A provider that is told to hang up, and of errors, in band."""

    def hear(self, message: bytes | str) -> Any:
        return {"stop": (Stop(),), "fault": (Fault("no\x7f"),)}.get(str(message)) or super().hear(
            message
        )


async def test_a_service_may_hang_up_in_band(use: Use, autojump_clock: Clock) -> None:
    async def script(bot: Bot) -> None:
        await bot.ws.send_message("fault")
        await trio.sleep(0.25)
        await bot.ws.send_message("stop")

    said: list[str] = []
    dialect = replace(TWILIO, peer=Obedient)
    bot, report = await call(use, dialect, script, on_message=said.append)
    assert report.heard.ending == "the service hung up"
    assert report.heard.sent_seconds < 0.5
    assert bot.heard[-1] == (0.25, Stop())
    assert said == ["fault: no"]


async def test_a_call_that_is_given_up_says_its_stop_too(use: Use, autojump_clock: Clock) -> None:
    bot = Bot(TWILIO, nothing)
    use(talking(bot.talk))
    with trio.move_on_after(0.1):
        await Phone(HALF, URL, TWILIO).run()
    with trio.move_on_after(0.001):
        await trio.sleep_forever()
    assert bot.heard[-1] == (0.1, Stop())
    assert bot.closed == 1000


async def test_it_offers_the_subprotocols(use: Use, autojump_clock: Clock) -> None:
    dialect = replace(TWILIO, subprotocols=("audio.test", "other"))
    bot, _ = await call(use, dialect, nothing)
    assert bot.ws.subprotocol == "audio.test"


# A real service


@every_dialect
async def test_a_real_handler_is_heard_to_the_end_and_hangs_up(
    nursery: trio.Nursery, dialect: Dialect
) -> None:
    service = await start(nursery, handler="tests.peers.bots:announce")
    url = service.url.replace("audio", dialect.name)
    report = await Phone(HALF, url, dialect).run()
    said = converted(Audio(tone(0.3), report.format.rate), report.format.encoding)
    assert report.audio.data.startswith(said.data)
    assert report.audio.seconds == pytest.approx(said.seconds, abs=0.02)
    assert report.heard.ending == "the service hung up"
    assert report.heard.skipped == ()


@pytest.mark.parametrize("name", ["twilio", "asterisk"])  # one with text, one with binary audio
async def test_a_real_handler_that_echoes_does_not_keep_the_telephone(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    dialect = DIALECTS[name]
    monkeypatch.setattr(twoway, "LISTEN_SECONDS", 1.3)  # longer than from one place to the next
    service = await start(nursery, handler="tests.peers.bots:echo")
    digits = "1" if says_digits(dialect) else ""
    url = service.url.replace("audio", dialect.name)
    report = await Phone(HALF, url, dialect, digits=digits).run()
    assert report.audio.seconds > 0.5
    assert report.heard.ending == "nothing was heard for 1.3 s"
    assert report.heard.skipped == ()
