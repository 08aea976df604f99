"""The round trips of frames that are each replied to, and the report on a stream."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, inf, nan

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from service.audio.wav import Audio
from service.client.dial import ClientError
from service.client.messages import receive
from service.client.request import Request
from service.client.twoway import Heard
from service.plain import plain

#: How long a reply may be overdue, in seconds; as long as the service waits for a stuck client.
REPLY_SECONDS = 10.0

#: Called after each reply with two numbers: the replies so far, and the frames of the whole audio.
#: In a two-way call it is called after each frame that was sent.
OnReply = Callable[[int, int], None]


class ReplyError(ClientError):
    """A reply did not come, or a message came that is no reply."""


class SilenceError(ReplyError):
    """A reply is overdue, and the connection still looks open."""

    retry_after = 0.0


@dataclass(frozen=True)
class Report:
    """What a stream was like; times are in milliseconds.

    `asked_for` is the codec in the request; `codec`, `session` and `warning` are from the answer,
    and the warning is about the query of the URL. A round trip lasts from before a frame is written
    until its reply is read; without any reply the percentiles are nan. A pause is the time between
    two consecutive replies; a gap is a pause of more than two frame times, and a reconnect may be
    one.
    `reconnects_ms` has one time for each reconnect: from the end of a call to the first reply of
    the next. A two-way call has `codec`, `audio` and `heard` instead of all this.
    """

    asked_for: str | None
    codec: str | None
    session: str | None
    warning: str | None
    frames_sent: int
    frames_received: int
    bytes_sent: int
    audio: Audio = field(repr=False)
    frame_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    gaps: int
    longest_pause_ms: float
    reconnects_ms: tuple[float, ...] = ()
    heard: Heard | None = None

    @property
    def bytes_received(self) -> int:
        """How many bytes of audio the replies have."""
        return len(self.audio.data)

    @property
    def frames_unanswered(self) -> int:
        """How many frames have no reply; after a lost call they never get one."""
        return self.frames_sent - self.frames_received


class RoundTrips:
    """Frames that are sent on a schedule, and their replies, over one WebSocket after the other."""

    def __init__(
        self,
        frames: Sequence[bytes],
        frame_seconds: float,
        on_reply: OnReply = lambda replies, frames: None,
    ) -> None:
        self._frames, self._frame_seconds = frames, frame_seconds
        self._on_reply = on_reply
        self._codec: str | None = None
        self._session: str | None = None
        self._warning: str | None = None
        self._sent = 0
        self._due = -inf
        self._unanswered: deque[float] = deque()
        self._round_trips: list[float] = []
        self._arrivals: list[float] = []
        self._replies: list[bytes] = []
        self._lost_at: float | None = None
        self._reconnects: list[float] = []

    @property
    def replies(self) -> int:
        """How many replies have come."""
        return len(self._replies)

    @property
    def all_sent(self) -> bool:
        """Whether every frame has been sent."""
        return self._sent == len(self._frames)

    async def run(self, ws: WebSocketConnection, peer: str) -> None:
        """Send every frame that was not sent yet, and wait for its reply.

        `peer` names the service in errors. A ClientError comes in a nursery's group, which
        `connection` opens.
        """
        headers = {name: plain(text.decode("latin-1")) for name, text in ws.handshake_headers}
        self._codec = headers.get(b"rt-audio-codec")
        self._session = headers.get(b"rt-audio-session")
        self._warning = headers.get(b"rt-audio-warning")
        self._unanswered.clear()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, ws)
                while self._unanswered or not self.all_sent:
                    self._take(await self._next(ws, peer), peer)
                    self._on_reply(len(self._replies), len(self._frames))
        finally:
            if self._lost_at is None:
                self._lost_at = trio.current_time()

    async def _send(self, ws: WebSocketConnection) -> None:
        # Each due time follows from the one before, so that a late frame does not delay all later
        # frames. After a quick reconnect the due time lies ahead, so the audio keeps to real time.
        self._due = max(self._due, trio.current_time())
        while not self.all_sent:
            await trio.sleep_until(self._due)
            self._unanswered.append(trio.current_time())
            self._sent += 1
            try:
                await ws.send_message(self._frames[self._sent - 1])
            except (ConnectionClosed, LocalProtocolError):
                # Replies may still be on the way: `_next` reads them, and then raises the error.
                self._unanswered.pop()
                self._sent -= 1
                return
            self._due += self._frame_seconds

    async def _next(self, ws: WebSocketConnection, peer: str) -> bytes | str:
        done = f"after {len(self._replies)} of {len(self._frames)} replies"
        # The next frame is due within a frame time, and its reply within REPLY_SECONDS of that.
        with trio.move_on_after(self._frame_seconds + REPLY_SECONDS):
            return await receive(ws, peer, lambda: done)
        raise SilenceError(f"{peer} sent no further reply for {REPLY_SECONDS:g} seconds {done}")

    def _take(self, reply: bytes | str, peer: str) -> None:
        now = trio.current_time()
        if isinstance(reply, str):
            raise ReplyError(f"{peer} sent text where audio was due")
        if not self._unanswered:
            raise ReplyError(f"{peer} sent a reply too many: every frame so far had one")
        if self._lost_at is not None:
            self._reconnects.append(now - self._lost_at)
            self._lost_at = None
        self._round_trips.append(now - self._unanswered.popleft())
        self._arrivals.append(now)
        self._replies.append(reply)

    def report(self, request: Request) -> Report:
        """Return the report of the round trips so far, which this request has led to."""
        times = sorted(1000 * seconds for seconds in self._round_trips)
        pauses = [later - earlier for earlier, later in pairwise(self._arrivals)]
        return Report(
            asked_for=request.codec,
            codec=self._codec,
            session=self._session,
            warning=self._warning,
            frames_sent=self._sent,
            frames_received=len(self._replies),
            bytes_sent=sum(map(len, self._frames[: self._sent])),
            audio=Audio(b"".join(self._replies), request.reply_rate, request.reply),
            frame_ms=1000 * self._frame_seconds,
            p50_ms=percentile(times, 50),
            p95_ms=percentile(times, 95),
            p99_ms=percentile(times, 99),
            max_ms=percentile(times, 100),
            gaps=sum(pause > 2 * self._frame_seconds for pause in pauses),
            longest_pause_ms=1000 * max(pauses, default=0.0),
            reconnects_ms=tuple(1000 * seconds for seconds in self._reconnects),
        )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of the values; nan if there are none."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)] if ascending else nan
