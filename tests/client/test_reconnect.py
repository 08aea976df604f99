"""Calls that are taken up again: which, how, and when no more; in memory, on a virtual clock."""

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection

from service.audio.wav import Audio
from service.client import stream as client
from service.client.backoff import FIRST_SECONDS, PATIENCE_SECONDS
from service.client.dial import ClientError, RefusedError, UnreachableError
from service.client.messages import ClosedError
from service.client.roundtrips import ReplyError, Report, SilenceError
from tests.peers.services import Conversation, Service, Use, answering, talking

URL = "ws://service.test/ws/audio"
#: One second in fifty frames, each different from the others.
SECOND = Audio(b"".join(struct.pack("<h", 4 * n) for n in range(8000)), 8000)
Clock = trio.testing.MockClock
Stream = trio.StapledStream[Any, Any]


@pytest.fixture(autouse=True)
def _longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the upper bound of each wait, always."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


class Diary:
    """What the client met, and when."""

    def __init__(self) -> None:
        self.losses: list[tuple[ClientError, float | None]] = []
        self.connected: list[float] = []
        self.frames: list[tuple[float, bytes | str]] = []

    async def stream(self, audio: Audio = SECOND, **options: Any) -> Report:
        """Stream with reconnects."""
        return await client.Stream(
            audio, URL, reconnect=True, on_loss=lambda *loss: self.losses.append(loss), **options
        ).run()

    def one_after_the_other(self, *services: Service) -> Service:
        """Return a service that is another for each connection; the last stays."""
        queue = list(services)

        async def service(stream: Stream) -> None:
            self.connected.append(trio.current_time())
            await (queue.pop(0) if len(queue) > 1 else queue[0])(stream)

        return service

    def answer(self, frames: int) -> Conversation:
        """Return a conversation of so many frames and replies."""

        async def conversation(ws: WebSocketConnection) -> None:
            for _ in range(frames):
                frame = await ws.get_message()
                self.frames.append((trio.current_time(), frame))
                await ws.send_message(frame)

        return conversation

    def echo(self) -> Service:
        """Return a service that answers every frame."""

        async def conversation(ws: WebSocketConnection) -> None:
            await self.answer(1000)(ws)

        return talking(conversation)

    def closing(self, code: int, frames: int = 10, unanswered: int = 0) -> Service:
        """Return a service that answers some frames, takes some more, and closes with a code."""

        async def conversation(ws: WebSocketConnection) -> None:
            await self.answer(frames)(ws)
            for _ in range(unanswered):
                await ws.get_message()
            await ws.aclose(code)

        return talking(conversation)

    def vanishing(self, frames: int = 10) -> Service:
        """Return a service that answers some frames and is gone without a close."""

        async def vanish(stream: Stream) -> None:
            async def conversation(ws: WebSocketConnection) -> None:
                await self.answer(frames)(ws)
                await stream.aclose()

            await talking(conversation)(stream)

        return vanish


@pytest.fixture
def diary() -> Diary:
    return Diary()


Lost = Callable[[Diary], Service]


def refusing(status: int, *headers: str) -> Service:
    lines = (f"HTTP/1.1 {status} x", *headers, "Content-Length: 0", "", "")
    return answering("\r\n".join(lines).encode())


async def hanging_up(stream: Stream) -> None:
    """Take the request for the upgrade, and close."""
    await stream.receive_some()
    await stream.aclose()


# What is taken up again


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(lambda diary: diary.closing(1001), id="going away"),
        pytest.param(lambda diary: diary.closing(1012), id="service restart"),
        pytest.param(lambda diary: diary.closing(1013), id="try again later"),
        pytest.param(lambda diary: diary.vanishing(), id="cut"),
    ],
)
async def test_a_lost_call_goes_on_with_the_next_frame(
    use: Use, autojump_clock: Clock, diary: Diary, lost: Lost
) -> None:
    use(diary.one_after_the_other(lost(diary), diary.echo()))
    report = await diary.stream()
    assert report.audio == SECOND
    assert (report.frames_sent, report.frames_received, report.frames_unanswered) == (50, 50, 0)
    assert report.bytes_sent == len(SECOND.data)
    [(error, wait)] = diary.losses
    assert isinstance(error, ClosedError)
    assert wait == FIRST_SECONDS
    # It ended 9 frame times after its first frame, and the next reply came after the wait.
    assert report.reconnects_ms == pytest.approx([1000 * FIRST_SECONDS])
    assert report.gaps == 1
    assert report.longest_pause_ms == pytest.approx(1000 * FIRST_SECONDS)


@pytest.mark.parametrize(
    "absent",
    [
        pytest.param(refusing(429), id="429"),
        pytest.param(refusing(502), id="502"),
        pytest.param(refusing(503), id="503"),
        pytest.param(refusing(504), id="504"),
        pytest.param(refusing(503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), id="date"),
        pytest.param(hanging_up, id="hung up"),
    ],
)
async def test_nobody_there_for_a_moment(
    use: Use, autojump_clock: Clock, diary: Diary, absent: Service
) -> None:
    use(diary.one_after_the_other(absent, absent, diary.echo()))
    report = await diary.stream()
    assert report.audio == SECOND
    assert [wait for _, wait in diary.losses] == [FIRST_SECONDS, 2 * FIRST_SECONDS]
    assert report.reconnects_ms == (), "there was no call before the first"


async def test_a_refusal_says_when_to_come_back(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(diary.one_after_the_other(refusing(503, "Retry-After: 3"), diary.echo()))
    await diary.stream()
    [(error, wait)] = diary.losses
    assert isinstance(error, RefusedError)
    assert wait == 3 + FIRST_SECONDS
    assert diary.connected[1] - diary.connected[0] == pytest.approx(wait)


async def test_who_should_come_back_in_an_hour_does_not_wait(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(refusing(503, "Retry-After: 3600"))
    with pytest.raises(RefusedError, match="HTTP 503") as refusal:
        await diary.stream()
    assert refusal.value.retry_after == 3600
    assert diary.losses == []


async def test_a_service_that_fell_silent_is_left(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    async def silent(ws: WebSocketConnection) -> None:
        await diary.answer(10)(ws)
        while True:
            await ws.get_message()

    use(diary.one_after_the_other(talking(silent), diary.echo()))
    report = await diary.stream(Audio(bytes(20 * 16000), 8000))
    [(error, _)] = diary.losses
    assert isinstance(error, SilenceError)
    # What was sent while nobody knew yet: the frames of ten seconds and one frame time.
    assert 500 <= report.frames_unanswered <= 502
    assert report.frames_sent == 1000


# How it is taken up


async def test_frames_without_a_reply_are_counted_and_not_sent_again(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(diary.one_after_the_other(diary.closing(1001, 10, unanswered=3), diary.echo()))
    report = await diary.stream()
    assert (report.frames_sent, report.frames_received, report.frames_unanswered) == (50, 47, 3)
    assert report.audio.data == SECOND.data[: 10 * 320] + SECOND.data[13 * 320 :]
    assert report.max_ms == 0, "no reply is taken for one to a frame of the call before"


async def test_a_quick_return_does_not_outrun_real_time(
    use: Use, autojump_clock: Clock, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.005)
    use(diary.one_after_the_other(diary.closing(1001), diary.echo()))
    report = await diary.stream()
    times = [time for time, _ in diary.frames]
    assert [time - times[0] for time in times] == pytest.approx([0.02 * n for n in range(50)])
    assert report.gaps == 0
    assert report.reconnects_ms == pytest.approx([20])


async def test_the_audio_waits_for_a_late_return(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(diary.one_after_the_other(diary.closing(1001), hanging_up, hanging_up, diary.echo()))
    report = await diary.stream()
    away = 7 * FIRST_SECONDS
    assert report.reconnects_ms == pytest.approx([1000 * away])
    assert report.audio == SECOND
    times = [time - diary.frames[0][0] for time, _ in diary.frames]
    assert times[10:] == pytest.approx([0.18 + away + 0.02 * n for n in range(40)])


async def test_each_reconnect_is_reported(use: Use, autojump_clock: Clock, diary: Diary) -> None:
    use(diary.one_after_the_other(diary.closing(1001), diary.vanishing(), diary.echo()))
    report = await diary.stream()
    # A reply in between, and the back-off begins anew.
    assert report.reconnects_ms == pytest.approx([1000 * FIRST_SECONDS] * 2)


async def test_who_has_said_all_does_not_come_back(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(diary.one_after_the_other(diary.closing(1001, 49, unanswered=1), diary.echo()))
    report = await diary.stream()
    assert (report.frames_sent, report.frames_unanswered) == (50, 1)
    assert len(diary.connected) == 1
    [(error, wait)] = diary.losses
    assert isinstance(error, ClosedError)
    assert wait is None


async def test_not_one_reply_is_no_report(use: Use, autojump_clock: Clock, diary: Diary) -> None:
    use(diary.closing(1001, 0, unanswered=1))
    with pytest.raises(ClientError, match="not one frame was answered"):
        await diary.stream(frame_ms=1000)


# What is not, and when no more


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1011, 4000])
async def test_another_close_is_final(
    use: Use, autojump_clock: Clock, diary: Diary, code: int
) -> None:
    use(diary.one_after_the_other(diary.closing(code)))
    with pytest.raises(ClosedError, match=f"closed with {code} after 10 of 50 replies"):
        await diary.stream()
    assert (len(diary.connected), diary.losses) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426, 500])
async def test_another_refusal_is_final(
    use: Use, autojump_clock: Clock, diary: Diary, status: int
) -> None:
    use(diary.one_after_the_other(refusing(status, "Retry-After: 1")))
    with pytest.raises(RefusedError, match=f"HTTP {status}"):
        await diary.stream()
    assert (len(diary.connected), diary.losses) == (1, [])


async def test_a_reply_that_is_none_is_final(use: Use, autojump_clock: Clock, diary: Diary) -> None:
    async def text(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.send_message("hello")

    use(diary.one_after_the_other(talking(text)))
    with pytest.raises(ReplyError, match="text where audio was due"):
        await diary.stream()
    assert (len(diary.connected), diary.losses) == (1, [])


async def test_patience_ends_with_the_last_error(
    autojump_clock: Clock, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*address: object) -> trio.SocketStream:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(trio, "open_tcp_stream", refused)
    began = trio.current_time()
    with pytest.raises(UnreachableError, match=f"cannot connect to {URL}: Connection refused"):
        await diary.stream()
    assert len(diary.losses) == 9
    assert trio.current_time() - began <= PATIENCE_SECONDS


async def test_a_service_that_takes_calls_and_ends_them_unanswered_is_given_up(
    use: Use, autojump_clock: Clock, diary: Diary
) -> None:
    use(diary.closing(1001, 0))
    with pytest.raises(ClosedError, match="1001"):
        await diary.stream()
    assert len(diary.losses) == 9
