"""Many callers, in processes of their own; the project's client reconnects a lost call."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import trio

from service.audio.wav import Audio
from service.client import stream as client
from service.client.dial import ClientError, ConnectError, RefusedError
from service.client.messages import ClosedError
from service.client.roundtrips import SilenceError

SAMPLE_RATE = 8000
#: Callers arrive over this time, in seconds.
ARRIVAL_SECONDS = 0.5
#: How many of them one process carries.
CALLERS_A_PROCESS = 150

_processes = get_context("spawn")


@dataclass(frozen=True)
class Habits:
    """What callers do: every second one makes short calls, the others long ones, in seconds.

    At the end of the run they make no further call. A call that still lasts `finish_seconds`
    later is closed.
    """

    frame_ms: float
    short_seconds: tuple[float, float]
    long_seconds: tuple[float, float]
    finish_seconds: float


@dataclass
class Stream:
    """One stream as its caller saw it; times are in milliseconds.

    `unanswered`, `wrong` and the round trips are only known of a stream that came to its end.
    """

    going_away: int = 0
    cut: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    failed: str | None = None
    frames: int = 0
    unanswered: int = 0
    wrong: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    lost_at: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None

    def lose(self, error: ClientError, wait: float | None) -> None:
        """Count how a call or an attempt ended."""
        if isinstance(error, ClosedError) and error.code == 1001:
            self.going_away += 1
            self.lost_at = trio.current_time()
        elif isinstance(error, ClosedError | SilenceError):
            self.cut.append(str(error))
        elif isinstance(error, RefusedError | ConnectError):
            self.refused.append(str(error))

    def reply(self, replies: int, frames: int) -> None:
        """Count a reply."""
        self.frames += 1
        if self.lost_at is not None:
            self.gaps_ms.append(1000 * (trio.current_time() - self.lost_at))
            self.lost_at = None

    async def run(self, url: str, audio: Audio, frame_ms: float) -> None:
        """Stream the audio, and compare what came back."""
        try:
            report = await client.Stream(
                audio,
                url,
                frame_ms=frame_ms,
                reconnect=True,
                on_reply=self.reply,
                on_loss=self.lose,
            ).run()
        except ClientError as error:
            self.lose(error, None)
            self.failed = str(error)
            return
        self.unanswered = report.frames_unanswered
        self.p50_ms, self.p99_ms = report.p50_ms, report.p99_ms
        if not self.unanswered and report.audio != audio:
            self.wrong = report.frames_received


@contextmanager
def calling(url: str, callers: int, habits: Habits) -> Iterator[list[Stream]]:
    """Have so many callers while the block runs; after it the list has their streams."""
    streams: list[Stream] = []
    over = _processes.Event()
    started = []
    count = -(-callers // CALLERS_A_PROCESS)
    for number in range(count):
        ours, theirs = _processes.Pipe(duplex=False)
        share = range(number * callers // count, (number + 1) * callers // count)
        process = _processes.Process(
            target=_call_until, args=(over, theirs, url, share, habits), daemon=True
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        for _, ours in started:
            ours.recv()
        yield streams
        over.set()
        for _, ours in started:
            streams += ours.recv()
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _call_until(over: Event, parent: Connection, url: str, share: range, habits: Habits) -> None:
    """Run these callers to the end, and send the parent their streams."""
    parent.send(trio.run(_all, over, parent, url, share, habits))


async def _all(
    over: Event, parent: Connection, url: str, share: range, habits: Habits
) -> list[Stream]:
    streams: list[Stream] = []
    async with trio.open_nursery() as nursery:
        for number in share:
            nursery.start_soon(_caller, over, url, number, habits, streams)
        while sum(stream.frames > 0 for stream in streams) < len(share):  # noqa: ASYNC110
            await trio.sleep(0.05)
        parent.send("everybody has been answered")
        await trio.to_thread.run_sync(over.wait)
        nursery.cancel_scope.deadline = trio.current_time() + habits.finish_seconds
    return streams


async def _caller(
    over: Event, url: str, number: int, habits: Habits, streams: list[Stream]
) -> None:
    """Make one call after the other."""
    chance = random.Random(number)
    seconds = habits.long_seconds if number % 2 else habits.short_seconds
    await trio.sleep(chance.uniform(0, ARRIVAL_SECONDS))
    while not over.is_set():
        samples = round(chance.uniform(*seconds) * SAMPLE_RATE)
        stream = Stream()
        streams.append(stream)
        # Each frame is different noise, so a reply to another frame or call shows.
        await stream.run(url, Audio(chance.randbytes(2 * samples), SAMPLE_RATE), habits.frame_ms)
