"""What a call does, whatever carries it: one suite over every link.

A call's outcome is counted once, and nobody is left on the line after it.
"""

import json
import os
from contextlib import suppress
from itertools import pairwise

import pytest
import trio

from service import codec
from service.audio.resample import Resampler
from service.calls.session import Session
from service.ending import OUTCOMES
from tests.peers.callers import Caller
from tests.peers.calling import KINDS, calling, over
from tests.peers.reach import Service

every_link = pytest.mark.parametrize("kind", [*map(over, KINDS)])


async def ends_as(outcome: str, house: object, dialect: str = "raw") -> None:
    """Check that the one call has ended with this outcome."""
    if isinstance(house, Service):
        series = f'rt_audio_sessions_total{{dialect="{dialect}",outcome="{outcome}"}}'
        await house.metric_becomes(series, 1)
        assert await house.metric("rt_audio_sessions_active") == 0
    else:
        with trio.fail_after(5):
            await house.call_ended.wait()  # type: ignore[attr-defined]
        assert house.roster.active == 0  # type: ignore[attr-defined]
        assert house.outcomes == {outcome: 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [*map(over, KINDS), "server"])
async def test_frames_come_back_untouched_and_in_order(kind: str) -> None:
    frames = [bytes([n]) * size for n, size in enumerate([320, 2, 0, 65534, 320, 125 * 2, 126])]
    async with calling(kind) as (caller, house):
        assert [await caller.ask(frame) for frame in frames] == frames
        await caller.leave()
        await ends_as("completed", house)


@every_link
async def test_a_call_is_counted_when_it_starts(kind: str) -> None:
    async with calling(kind) as (caller, house):
        await caller.ask(b"hi")
        metrics = await house.scrape()
        assert metrics['rt_audio_sessions_started_total{dialect="raw"}'] == 1
        for outcome in OUTCOMES:
            assert metrics[f'rt_audio_sessions_total{{dialect="raw",outcome="{outcome}"}}'] == 0


@every_link
async def test_an_empty_frame_is_answered_with_an_empty_frame(kind: str) -> None:
    async with calling(kind, "encoding=alaw&reply=pcm16") as (caller, _):
        assert await caller.ask(b"") == b""


@every_link
async def test_a_different_reply_is_transcoded(kind: str) -> None:
    frame = bytes(range(256))
    async with calling(kind, "encoding=alaw&reply=pcm16") as (caller, _):
        assert await caller.ask(frame) == codec.choose(law="alaw").decode(frame)


@every_link
async def test_half_a_sample_ends_the_call_with_1003(kind: str) -> None:
    async with calling(kind) as (caller, house):
        await caller.send(b"abc")
        code, reason = await caller.hung_up()
        assert code == 1003
        assert "odd" in reason
        await ends_as("rejected", house)


@every_link
async def test_frames_before_the_bad_one_have_their_replies(kind: str) -> None:
    async with calling(kind) as (caller, _):
        assert await caller.ask(b"good") == b"good"
        await caller.send(b"bad")
        assert (await caller.hung_up())[0] == 1003


@every_link
async def test_a_wav_header_as_the_first_frame_is_refused_and_later_is_audio(kind: str) -> None:
    header = b"RIFF" + bytes(4) + b"WAVEfmt "
    async with calling(kind) as (caller, house):
        await caller.send(header)
        code, reason = await caller.hung_up()
        assert code == 1003
        assert "WAV" in reason
        await ends_as("rejected", house)
        assert await house.metric('rt_audio_frames_rejected_total{reason="wav_header"}') == 1
    async with calling(kind) as (caller, _):
        assert await caller.ask(b"hi") == b"hi"
        assert await caller.ask(header) == header


@every_link
async def test_events_json_greets_with_the_session_and_its_terms(kind: str) -> None:
    query = "events=json&codec=numpy&encoding=alaw&reply=ulaw&sample_rate=16000&reply_rate=24000"
    async with calling(kind, query) as (caller, _):
        started = json.loads(await caller.receive())
        assert len(started.pop("id")) == 12
        assert started == {
            "type": "started",
            "handler": False,
            "codec": "numpy",
            "encoding": "alaw",
            "reply": "ulaw",
            "sample_rate": 16000,
            "reply_rate": 24000,
        }
        assert len(await caller.ask(bytes(32))) == 48


@every_link
async def test_a_reply_of_another_rate_is_resampled_frame_by_frame(kind: str) -> None:
    """A frame of one sample, whose reply is empty, and a long one, which is done in pieces."""
    pcm = os.urandom(100_000)
    cuts = [0, 640, 642, 644, 646, 1280, 99_000, 100_000]
    frames = [pcm[start:end] for start, end in pairwise(cuts)]
    resampler = Resampler(24000, 8000)
    async with calling(kind, "sample_rate=24000&reply_rate=8000") as (caller, house):
        replies = [await caller.ask(frame) for frame in frames]
        assert replies == [resampler.convert(frame) for frame in frames]
        assert b"" in replies
        await caller.leave()
        await ends_as("completed", house)
        metrics = await house.scrape()
        seconds = metrics['rt_audio_audio_seconds_total{direction="outbound"}']
        assert seconds == pytest.approx(sum(map(len, replies)) / 16000)
        assert metrics['rt_audio_frames_total{direction="outbound"}'] == len(frames)
        assert metrics["rt_audio_resample_seconds_count"] == len(frames)


@every_link
async def test_long_frames_are_converted_whole_and_counted_once(kind: str) -> None:
    """In pieces, that is, between which others have their turns."""
    frame = os.urandom(300_001)
    pcm = codec.tier("pure_python", "alaw").decode(frame)
    query = "encoding=alaw&reply=ulaw&codec=pure_python"
    async with calling(kind, query) as (caller, house):
        assert await caller.ask(frame) == codec.tier("pure_python", "ulaw").encode(pcm)
        assert await caller.ask(b"abc")
        metrics = await house.scrape()
        for direction, law in (("decode", "alaw"), ("encode", "ulaw")):
            series = f'rt_audio_{direction}_seconds_count{{codec="pure_python",law="{law}"}}'
            assert metrics[series] == 2


@every_link
async def test_g711_may_have_any_length(kind: str) -> None:
    async with calling(kind, "encoding=ulaw") as (caller, _):
        assert await caller.ask(b"abc") == b"abc"


@every_link
async def test_a_text_message_ends_the_call_with_1003(kind: str) -> None:
    async with calling(kind) as (caller, house):
        await caller.send("hello")
        code, reason = await caller.hung_up()
        assert code == 1003
        assert "text" in reason
        await ends_as("rejected", house)


@every_link
async def test_a_message_at_the_limit_passes_and_one_beyond_it_is_1009(kind: str) -> None:
    async with calling(kind, max_frame_bytes=1000) as (caller, house):
        assert len(await caller.ask(bytes(1000))) == 1000
        await caller.send(bytes(1002))
        assert (await caller.hung_up())[0] == 1009
        await ends_as("rejected", house)


@every_link
async def test_silence_beyond_the_limit_ends_the_call_with_1008(kind: str) -> None:
    async with calling(kind, idle_seconds=0.3) as (caller, house):
        assert await caller.ask(b"hi") == b"hi"
        code, reason = await caller.hung_up()
        assert code == 1008
        assert "0.3 seconds" in reason
        await ends_as("idle", house)


@every_link
async def test_a_peer_that_vanishes_ends_its_own_call_as_aborted(kind: str) -> None:
    async with calling(kind) as (caller, house):
        await caller.ask(b"hi")
        await caller.vanish()
        await ends_as("aborted", house)


# An ASGI server tells a loss only to an app that reads, and this app writes first.
@pytest.mark.parametrize("kind", [over(kind) for kind in KINDS if kind != "asgi"])
async def test_a_peer_that_vanishes_before_the_greeting_is_aborted_too(kind: str) -> None:
    async with calling(kind, "events=json") as (caller, house):
        await caller.vanish()
        await ends_as("aborted", house)


@every_link
async def test_the_peers_own_close_completes_the_call_and_its_code_is_counted(kind: str) -> None:
    async with calling(kind) as (caller, house):
        await caller.leave(1001)
        await ends_as("completed", house)
        metrics = await house.scrape()
        for code in ("1000", "1001"):
            counted = metrics[f'rt_audio_peer_closes_total{{code="{code}"}}']
            assert counted == (code == "1001")


@pytest.mark.parametrize(
    ("code", "counted_as"), [(1000, "1000"), (3002, "3xxx"), (4999, "4xxx"), (1004, "other")]
)
async def test_close_codes_are_counted_in_a_handful_of_series(code: int, counted_as: str) -> None:
    async with calling("memory") as (caller, house):
        await caller.leave(code)
        await ends_as("completed", house)
        assert await house.metric(f'rt_audio_peer_closes_total{{code="{counted_as}"}}') == 1


@every_link
async def test_a_bug_in_a_session_ends_its_call_with_1011(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Session, message: bytes) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "receive", broken)
    async with calling(kind) as (caller, house):
        await caller.send(b"hi")
        assert await caller.hung_up() == (1011, "internal error")
        await ends_as("error", house)


@every_link
async def test_a_peer_that_stops_reading_is_not_read_and_then_dropped(kind: str) -> None:
    """It is never told: there is no way to reach it."""

    async def flood(caller: Caller) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await caller.send(bytes(1 << 16))

    async with (
        calling(kind, send_timeout_seconds=0.5) as (caller, house),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(flood, caller)
        await ends_as("stuck", house)
        nursery.cancel_scope.cancel()


async def test_calls_do_not_disturb_each_other() -> None:
    async with calling("server") as (first, service):
        second = await service.call()
        await second.send(b"odd")
        assert (await second.hung_up())[0] == 1003
        assert await first.ask(b"still here") == b"still here"
