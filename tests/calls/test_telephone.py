"""A telephone provider's call, in each dialect: the same handler answers it, or the echo."""

import pytest
import trio
from trio.testing import MockClock

from service.calls.dialogue import START_SECONDS
from service.dialects.book import DIALECTS
from service.dialects.events import Digits, Format, Mark, Stop
from service.handlers import Call
from tests.calls.test_calls import ends_as, every_link
from tests.peers import callers
from tests.peers.calling import calling
from tests.peers.telephones import FORMATS, PARAMETERS, Telephone

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
in_every_format = pytest.mark.parametrize(
    ("dialect", "audio"), [(name, audio) for name in DIALECTS for audio in FORMATS[name]]
)


async def parrot(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame)


def query_of(dialect: str, audio: Format) -> str:
    """Return the query of the URL that is configured for such a call."""
    return f"sample_rate={audio.rate}" if dialect == "freeswitch" else ""


@every_link
@every_dialect
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


@in_every_format
async def test_a_handler_hears_and_speaks_in_the_providers_format(
    dialect: str, audio: Format, autojump_clock: MockClock
) -> None:
    async with calling("memory", query_of(dialect, audio), parrot, dialect) as (caller, house):
        phone = Telephone(caller, dialect, audio)
        await phone.begin()
        sound = b"".join(bytes([n]) * (phone.frame_bytes // 4) for n in range(1, 101))
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
