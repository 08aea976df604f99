"""A telephone provider's call, in each dialect: the same handler answers it, or the echo."""

import json
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlencode

import pytest
import trio
from trio.testing import MockClock

from service.calls.dialogue import START_SECONDS
from service.dialects.book import DIALECTS
from service.dialects.events import Alive, Clear, Digits, Event, Format, Mark, Slip, Stop
from service.handlers import Call
from tests.calls.test_calls import ends_as
from tests.peers import callers, stand_in
from tests.peers.calling import KINDS, calling, over
from tests.peers.logged import entries
from tests.peers.reach import read_head, upgrade_request
from tests.peers.serving import serving
from tests.peers.telephones import PARAMETERS, Telephone

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
in_every_format = pytest.mark.parametrize(
    ("dialect", "audio"), [(name, audio) for name in DIALECTS for audio in DIALECTS[name].formats]
)


async def parrot(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame)


def query_of(dialect: str, audio: Format) -> str:
    """Return the query of the URL that is configured for such a call."""
    match dialect:
        case "freeswitch":
            return f"sample_rate={audio.rate}"
        case "telnyx":
            codec = {"ulaw": "PCMU", "alaw": "PCMA", "pcm16": "L16"}[audio.encoding]
            return (
                f"stream_bidirectional_codec={codec}"
                f"&stream_bidirectional_sampling_rate={audio.rate}"
            )
    return ""


@pytest.mark.parametrize(
    ("kind", "dialect"),
    [over(kind, name) for kind in (*KINDS, "server") for name in DIALECTS
     if kind in ("memory", "server") or name == "twilio"],
)  # fmt: skip
async def test_the_echo_returns_the_audio_in_the_providers_dialect(kind: str, dialect: str) -> None:
    async with calling(kind, "", None, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        for number in range(5):
            frame = bytes([number + 1]) * phone.frame_bytes
            await phone.speak(frame)
            assert await phone.hear() == frame
        await phone.say(Stop())
        await caller.leave()
        await ends_as("completed", house, dialect)


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
async def test_the_echo_plays_at_the_rate_that_the_telephone_plays(rate: int) -> None:
    """Telnyx sends in one format, and plays another that its user has asked for."""
    played = Format("pcm16", rate)
    query = urlencode(DIALECTS["telnyx"].query(played))
    async with calling("memory", query, None, "telnyx") as (caller, house):
        phone = Telephone(caller, "telnyx", played=played)
        await phone.begin()
        size = 0
        for _ in range(10):
            await phone.speak(phone.silence)
            heard = await phone.hear()
            assert isinstance(heard, bytes)
            size += len(heard)
        assert size == pytest.approx(10 * rate // 50 * 2, abs=rate // 100)
        said = await house.metric('rt_audio_audio_seconds_total{direction="outbound"}')
        assert said == pytest.approx(size / 2 / rate)
        await caller.leave()
        await ends_as("completed", house, "telnyx")


async def test_an_echo_that_has_no_sample_yet_says_nothing_and_counts_nothing() -> None:
    query = urlencode(DIALECTS["telnyx"].query(Format("pcm16", 8000)))
    wide, sizes = Format("pcm16", 48000), list[int]()
    async with calling("memory", query, None, "telnyx") as (caller, house):
        phone = Telephone(caller, "telnyx", wide, Format("pcm16", 8000))

        async def listen_on() -> None:
            with suppress(callers.HungUp):
                while True:
                    sizes.append(len(await phone.hear_audio(1)))

        await phone.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen_on)
            for _ in range(60):
                await phone.speak(b"\1\1")  # a sixth of a sample that is played
            await phone.speak(phone.silence)
            await phone.say(Stop())
        await ends_as("completed", house, "telnyx")
        said = await house.metric('rt_audio_audio_seconds_total{direction="outbound"}')
        assert said == pytest.approx(sum(sizes) / 2 / 8000)
    assert 0 not in sizes
    assert len(sizes) < 20, "most messages had no reply"


@in_every_format
async def test_a_handler_hears_and_speaks_in_the_providers_format(
    dialect: str, audio: Format, autojump_clock: MockClock
) -> None:
    async with calling("memory", query_of(dialect, audio), parrot, dialect) as (caller, house):
        phone = Telephone(caller, dialect, audio)
        await phone.begin()
        sound = b"".join(bytes([n]) * phone.frame_bytes for n in range(1, 26))
        for start in range(0, len(sound), phone.frame_bytes):
            await phone.speak(sound[start : start + phone.frame_bytes])
            await trio.sleep(0.02)
        assert await phone.hear_audio(len(sound)) == sound
        await caller.leave()
        await ends_as("completed", house, dialect)


@every_dialect
async def test_a_handler_knows_who_calls(dialect: str, autojump_clock: MockClock) -> None:
    known: list[Call] = []

    async def bot(call: Call) -> None:
        known.append(call)

    async with calling("memory", "key=value", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await trio.sleep(1)
        assert known == []
        await phone.begin()
        await phone.speak(phone.silence)
        assert await callers_end(phone) == (1000, "")
        await ends_as("completed", house, dialect)
    [call] = known
    assert call.dialect == dialect
    assert (call.encoding, call.rate) == (phone.start.heard.encoding, phone.start.heard.rate)
    assert call.parameters["key"] == "value"
    if dialect in ("twilio", "exotel", "telnyx", "plivo"):
        assert (call.call_id, call.stream_id) == ("call-1", "stream-1")
        assert call.parameters.items() >= PARAMETERS.items()
        assert call.details


async def callers_end(phone: Telephone) -> tuple[int | None, str]:
    """Return the close code and reason, behind whatever else the service says."""
    while True:
        try:
            await phone.hear()
        except callers.HungUp as end:
            return end.code, end.reason


@pytest.mark.parametrize("dialect", ["asterisk", "jambonz"])
async def test_the_service_hangs_up_in_the_words_of_the_dialect(
    dialect: str, autojump_clock: MockClock
) -> None:
    async def bot(call: Call) -> None:
        await call.play(b"\1\1" * 1600, rate=8000)

    async with calling("memory", "", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        heard = [await phone.hear()]
        while not isinstance(heard[-1], Stop):
            heard.append(await phone.hear())
        assert sum(isinstance(item, bytes) for item in heard) == 10
        assert await caller.hung_up() == (1000, "")
        await ends_as("completed", house, dialect)


@every_dialect
async def test_keys_reach_the_handler(dialect: str, autojump_clock: MockClock) -> None:
    keys: list[str] = []

    async def bot(call: Call) -> None:
        keys.extend([e.digits async for e in call.events() if isinstance(e, Digits)])

    async with calling("memory", "", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        if not phone.half.say(Digits("1")):
            pytest.skip(f"{dialect} has no word for keys")
        await phone.say(Digits("12#"))
        await phone.speak(phone.silence)
        await trio.sleep(1)
        await caller.leave()
        await ends_as("completed", house, dialect)
    assert "".join(keys) == "12#"


@every_dialect
async def test_a_handler_waits_until_the_caller_has_heard_it(
    dialect: str, autojump_clock: MockClock
) -> None:
    """The telephone is late by 0.3 s; it says so, if its dialect has marks."""
    heard: list[tuple[float, int]] = []

    async def bot(call: Call) -> None:
        began = trio.current_time()
        await call.play(bytes(16000), rate=8000)
        await call.heard()
        heard.append((trio.current_time() - began, call.position))

    async with calling("memory", "", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        if dialect == "freeswitch":
            await phone.speak(phone.silence)
        marks = await listen(phone, late=0.3)
        await ends_as("completed", house, dialect)
    [(seconds, position)] = heard
    assert seconds == pytest.approx(1.3 if marks else 1.0, abs=0.05)
    assert position == pytest.approx(1000, abs=20)


@every_dialect
async def test_a_provider_that_wants_frames_of_one_length_gets_no_others(
    dialect: str, autojump_clock: MockClock
) -> None:
    sizes = [400, 2, 318, 1000, 6]

    async def bot(call: Call) -> None:
        for size in sizes:
            await call.play(b"\1" * size, rate=call.rate)
            await trio.sleep(0.15)

    async with calling("memory", "", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        if dialect == "freeswitch":
            await phone.speak(phone.silence)
        frames = []
        with suppress(callers.HungUp):
            while True:
                heard = await phone.hear()
                frames += [len(heard)] if isinstance(heard, bytes) else []
        await ends_as("completed", house, dialect)
    seconds = DIALECTS[dialect].frame_seconds
    if seconds is not None:
        assert set(frames) == {round(phone.frame_bytes * seconds / 0.02)}
    assert sum(frames) >= sum(sizes) * phone.frame_bytes // (phone.start.heard.rate // 25)


async def listen(phone: Telephone, late: float) -> int:
    """Play what comes, so much later than it comes, until the end; return how many marks came."""
    until = trio.current_time() + late
    marks = 0
    async with trio.open_nursery() as nursery:

        async def reach(mark: Mark, at: float) -> None:
            await trio.sleep_until(at)
            await phone.say(mark)

        while True:
            try:
                heard = await phone.hear()
            except callers.HungUp:
                nursery.cancel_scope.cancel()
                return marks
            if isinstance(heard, bytes):
                until = max(until, trio.current_time() + late)
                until += 0.02 * len(heard) / phone.frame_bytes
            elif isinstance(heard, Mark):
                marks += 1
                nursery.start_soon(reach, heard, max(until, trio.current_time() + late))


@every_dialect
async def test_a_clear_returns_what_the_caller_has_heard(
    dialect: str, autojump_clock: MockClock
) -> None:
    told: list[int] = []

    async def bot(call: Call) -> None:
        await call.play(bytes(16000 * 4), rate=8000)
        await trio.sleep(2)
        told.append(call.clear())

    async with calling("memory", "", bot, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        if dialect == "freeswitch":
            await phone.speak(phone.silence)
        marks = await listen(phone, late=0.4)
        await ends_as("completed", house, dialect)
    [milliseconds] = told
    if marks:
        assert milliseconds == pytest.approx(1600, abs=50)
    else:
        assert milliseconds == pytest.approx(2000, abs=250)


async def test_a_telephone_without_room_gets_no_audio_until_it_has_some(
    autojump_clock: MockClock,
) -> None:
    async def bot(call: Call) -> None:
        await call.play(b"\1\1" * 8000 * 3, rate=8000)
        await trio.sleep(6)
        call.clear()

    came: list[tuple[float, bytes | Event]] = []

    async def listen_on() -> None:
        with suppress(callers.HungUp):
            while True:
                heard = await phone.hear()
                came.append((trio.current_time() - began, heard))

    def seconds(since: float, until: float) -> float:
        frames = [item for at, item in came if since <= at < until and isinstance(item, bytes)]
        return len(frames) * 0.02

    async with calling("memory", "", bot, "asterisk") as (caller, house):
        phone = Telephone(caller, "asterisk")
        began = trio.current_time()
        await phone.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen_on)
            await trio.sleep(1)
            await caller.send('{"event":"MEDIA_XOFF","channel_id":"c"}')
            await trio.sleep(2)
            await caller.send('{"event":"MEDIA_XON","channel_id":"c"}')
            await trio.sleep(1)
            await caller.send('{"event":"MEDIA_XOFF","channel_id":"c"}')
        await ends_as("completed", house, "asterisk")
    assert seconds(0, 1.01) == pytest.approx(1.06, abs=0.05)
    assert seconds(1.01, 2.99) == 0
    assert seconds(2.99, 4.01) == pytest.approx(1.26, abs=0.05)  # 0.2 s are made up for
    assert seconds(4.01, 9) == 0
    [cleared] = [at for at, item in came if isinstance(item, Clear)]
    assert cleared == pytest.approx(6, abs=0.1)


@every_dialect
async def test_a_stream_that_does_not_begin_is_ended(
    dialect: str, autojump_clock: MockClock
) -> None:
    async with calling("memory", "", parrot, dialect) as (caller, house):
        reason = f"the stream did not begin within {START_SECONDS:g} seconds"
        assert await caller.hung_up() == (1008, reason)
        await ends_as("rejected", house, dialect)
        errors = f'rt_audio_dialect_errors_total{{dialect="{dialect}",reason="no_start"}}'
        assert await house.metric(errors) == 1


@pytest.mark.parametrize("kind", ["memory", "pump"])
@pytest.mark.parametrize(("message", "slip", "code", "outcome"), [
    ("hello", "not_json", 1007, "rejected"),
    ('{"event":"x","a":' + "[" * 60_000, "not_json", 1007, "rejected"),
    ("[" * 60_000, "bad_event", None, "completed"),
    ("[" * (1 << 20), None, 1009, "rejected"),
    ('{"event":"media","streamSid":"stream-1","media":{"payload":"!!!!"}}', "bad_base64", 1007,
     "rejected"),
    (bytes(160), "kind", 1003, "rejected"),
    ('{"event":"dance"}', "unknown_event", None, "completed"),
    ('{"event":"media","streamSid":"another","media":{"payload":"AAAA"}}', "wrong_stream", None,
     "completed"),
    ('{"event":"mark","streamSid":"stream-1"}', "bad_event", None, "completed"),
])  # fmt: skip
async def test_a_bad_message_is_counted_and_skipped_or_ends_its_own_call(
    kind: str, message: bytes | str, slip: str | None, code: int | None, outcome: str
) -> None:
    async with calling(kind, "", None, "twilio") as (caller, house):
        phone = Telephone(caller, "twilio")
        await phone.begin()
        await phone.speak(phone.silence)
        assert await phone.hear() == phone.silence
        await caller.send(message)
        if code is not None:
            assert (await caller.hung_up())[0] == code
        else:
            await phone.speak(phone.silence)
            assert await phone.hear() == phone.silence
            await phone.say(Stop())
            assert await caller.hung_up() == (1000, "")
        await ends_as(outcome, house, "twilio")
        series = 'rt_audio_dialect_errors_total{{dialect="twilio",reason="{}"}}'.format
        metrics = await house.scrape()
        assert [metrics[series(each)] for each in Slip] == [each == slip for each in Slip]


@every_dialect
async def test_audio_before_the_start_costs_nothing_else(dialect: str) -> None:
    if dialect == "freeswitch":
        pytest.skip("audio is its start")
    async with calling("memory", "", None, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.speak(phone.silence)
        await phone.begin()
        if dialect == "asterisk":  # it is known to be early, and kept
            assert await phone.hear() == phone.silence
        await phone.speak(phone.silence)
        assert await phone.hear() == phone.silence
        await caller.leave()
        await ends_as("completed", house, dialect)


@pytest.mark.parametrize("dialect", ["twilio", "vonage", "freeswitch"])
async def test_who_calls_in_which_dialect_is_in_the_log(
    dialect: str, capfd: pytest.CaptureFixture[str], set_up_logs: Callable[[str, str], None]
) -> None:
    set_up_logs("info", "json")
    async with calling("server", "", None, dialect) as (caller, house):
        phone = Telephone(caller, dialect)
        await phone.begin()
        await phone.speak(phone.silence)
        assert await phone.hear() == phone.silence
        await caller.leave()
        await ends_as("completed", house, dialect)
    lines = [line for line in entries(capfd) if "dialect" in line]
    assert [line["event"] for line in lines] == [
        "session_started", "stream_started", "session_ended",
    ]  # fmt: skip
    assert {line["dialect"] for line in lines} == {dialect}
    assert lines[1]["sample_rate"] == lines[1]["reply_rate"] == phone.start.heard.rate
    assert lines[2]["call_id"] == lines[1]["call_id"]
    assert lines[2]["frames"] == 1


async def test_a_mistake_that_is_made_again_and_again_has_one_line(
    capfd: pytest.CaptureFixture[str], set_up_logs: Callable[[str, str], None]
) -> None:
    set_up_logs("info", "json")
    async with calling("server", "", None, "asterisk") as (caller, house):
        phone = Telephone(caller, "asterisk")
        await phone.begin()
        for number in range(100):
            event = {"event": "ERROR", "channel_id": "c", "error_text": f"error {number}\n"}
            await caller.send(json.dumps(event))
        await caller.send(json.dumps({"event": "DANCE"}))
        await phone.say(Stop())
        await caller.leave()
        await ends_as("completed", house, "asterisk")
        series = 'rt_audio_dialect_errors_total{dialect="asterisk",reason="peer"}'
        assert await house.metric(series) == 100
    lines = entries(capfd, "dialect_error")
    assert [line["reason"] for line in lines] == ["peer", "unknown_event"]
    assert "error 0" in lines[0]["message"]
    assert lines[0]["session"] == lines[1]["session"] != ""


async def test_the_echo_has_no_endpoint_that_nobody_asked_for() -> None:
    async with serving() as service:
        assert (await service.get("/ws/twilio"))[0] == 404
    async with serving(dialects="twilio") as service:
        assert (await service.get("/ws/twilio"))[0] == 426
        assert (await service.get("/ws/vonage"))[0] == 404
    async with serving(handler=stand_in.put(parrot)) as service:
        assert [(await service.get(f"/ws/{name}"))[0] for name in DIALECTS] == [426] * len(DIALECTS)


@pytest.mark.parametrize(("dialect", "offered", "agreed"), [
    ("jambonz", "audio.jambonz.org", "audio.jambonz.org"),
    ("jambonz", "chat, audio.drachtio.org", "audio.drachtio.org"),
    ("twilio", "audio.jambonz.org", None),
])  # fmt: skip
async def test_the_subprotocol_of_a_dialect_is_agreed_on(
    dialect: str, offered: str, agreed: str | None
) -> None:
    async with serving(dialects=dialect) as service:
        stream = await service.connect()
        extra = f"Sec-WebSocket-Protocol: {offered}\r\n"
        await stream.send_all(upgrade_request(f"/ws/{dialect}", extra))
        head = (await read_head(stream)).decode().lower()
        assert head.startswith("http/1.1 101 ")
        [*said] = [line for line in head.split("\r\n") if "sec-websocket-protocol" in line]
        assert said == ([f"sec-websocket-protocol: {agreed}"] if agreed else [])


@every_dialect
async def test_a_peer_that_cannot_stand_pings_is_asked_whether_it_is_there(
    dialect: str, autojump_clock: MockClock
) -> None:
    async with calling("memory", "", parrot, dialect, ping_seconds=7) as (caller, house):
        if DIALECTS[dialect].pings:
            pytest.skip(f"{dialect} is pinged")
        phone = Telephone(caller, dialect)
        await phone.begin()
        began = trio.current_time()
        for _ in range(3):
            assert await phone.hear() == Alive()
            await phone.say(Alive())
        assert trio.current_time() - began == pytest.approx(21, abs=0.1)
        await caller.leave()
        await ends_as("completed", house, dialect)


@pytest.mark.parametrize("kind", ["stream", "pump"])
async def test_a_peer_that_does_not_answer_whether_it_is_there_is_gone(kind: str) -> None:
    deadlines = {"ping_seconds": 0.2, "pong_seconds": 0.2}
    async with calling(kind, "", parrot, "asterisk", **deadlines) as (caller, house):
        phone = Telephone(caller, "asterisk")
        await phone.begin()
        for _ in range(4):  # longer than it may be silent
            assert await phone.hear() == Alive()
            await phone.say(Alive())
        with suppress(callers.HungUp), trio.fail_after(5):
            while True:
                assert await phone.hear() == Alive()
        await ends_as("aborted", house, "asterisk")


async def test_a_caller_that_has_left_is_not_asked_while_its_handler_goes_on(
    autojump_clock: MockClock,
) -> None:
    done = trio.Event()

    async def bot(call: Call) -> None:
        async for _ in call.frames():
            """Listen until the caller leaves."""
        await trio.sleep(3)  # to save what was said, for example
        done.set()

    async with calling("memory", "", bot, "asterisk", ping_seconds=2) as (caller, house):
        phone = Telephone(caller, "asterisk")
        await phone.begin()
        await trio.sleep(1)
        await caller.leave()
        await ends_as("completed", house, "asterisk")
        assert done.is_set()


async def test_audio_that_never_came_is_counted(autojump_clock: MockClock) -> None:
    async with calling("memory", "", parrot, "telnyx") as (caller, house):
        phone = Telephone(caller, "telnyx")
        await phone.begin()
        await phone.speak(phone.silence)
        phone.half.audio(phone.silence)  # is numbered, but not sent
        await phone.speak(phone.silence)
        await phone.say(Stop())
        await caller.leave()
        await ends_as("completed", house, "telnyx")
        errors = 'rt_audio_dialect_errors_total{dialect="telnyx",reason="lost"}'
        assert await house.metric(errors) == 1
