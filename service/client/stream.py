"""A small client: stream audio to the service in real time, and measure the replies.

    stream = Stream(audio, url)      # checks the URL and the options
    report = await stream.run()      # or a ClientError, whose text is one sentence for a person
    stream.report()                  # after an error too: the report so far

After a lost call another one can go on with the next frame that was not sent.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, inf, isfinite, nan
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from service.audio.wav import Audio
from service.client.backoff import Backoff
from service.client.dial import ClientError, check_token, connection
from service.client.messages import receive, started
from service.client.request import Request
from service.client.steps import Steps
from service.client.twoway import HandlerError, Heard, OnMessage, TwoWay
from service.plain import plain

#: How long a reply may be overdue, in seconds; as long as the service waits for a stuck client.
REPLY_SECONDS = 10.0

#: Called after each reply with two numbers: the replies so far, and the frames of the whole audio.
#: In a two-way call it is called after each frame that was sent.
OnReply = Callable[[int, int], None]
#: Called after each lost or refused call with the error and the seconds until the next try. The
#: seconds are None if every frame has been sent, because no other call is made then.
OnLoss = Callable[[ClientError, float | None], None]


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
    the next. A two-way call has `audio` and `heard` instead of all this.
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


class Stream:
    """One audio's way to a service and back: prepared, run once, and reported on at any time."""

    def __init__(
        self,
        audio: Audio,
        url: str,
        *,
        encoding: str | None = None,
        reply: str | None = None,
        codec: str | None = None,
        reply_rate: int | None = None,
        token: str | None = None,
        frame_ms: float = 20,
        speed: float = 1,
        reconnect: bool = False,
        on_reply: OnReply = lambda replies, frames: None,
        on_loss: OnLoss = lambda error, seconds: None,
        on_message: OnMessage | None = None,
        steps: Steps | None = None,
    ) -> None:
        """Prepare the stream; raise ClientError if the URL, its query or the token cannot be used.

        `encoding`, `reply`, `codec` and `reply_rate` are those of `Request.make`, `steps` are those
        of `connection`. `speed` is 1 for real time, 2 for twice as fast.

        With `reconnect` a new call follows a call that is lost, refused for now or told to come
        back, after a back-off. No frame is left out, and no frame is sent twice: frames without a
        reply at the end of a call stay without one.

        A call that a handler answers is a two-way call, whose report has `heard`. Such a call needs
        `on_message`, and no `reconnect`.
        """
        if not (isfinite(frame_ms) and isfinite(speed) and frame_ms > 0 and speed > 0):
            raise ValueError("frame_ms and speed must be positive numbers")
        check_token(token)
        self.request = Request.make(
            audio, url, encoding=encoding, reply=reply, codec=codec, reply_rate=reply_rate
        )
        self._token, self._reconnect, self._on_loss = token, reconnect, on_loss
        self._steps = steps
        audio = self.request.audio
        # No frame is longer than the audio, which bounds what may be an enormous number.
        samples = max(1, round(min(len(audio.data), audio.sample_rate * frame_ms / 1000)))
        growth = ceil(self.request.reply_rate / audio.sample_rate)
        self._longest_reply = max(2**20, 2 * samples * growth)
        self._paced = audio.frames(samples), samples / audio.sample_rate / speed
        self._trips = RoundTrips(*self._paced, on_reply)
        self._on_reply, self._on_message = on_reply, on_message
        self._talk: TwoWay | None = None

    async def run(self) -> Report:
        """Send all frames, wait for all replies, and return the report; raise ClientError.

        A two-way call goes on until one side hangs up.

        With `reconnect` an error that would come again is raised at once, any other error once
        PATIENCE_SECONDS have passed without a reply.
        """
        await (self._call_again() if self._reconnect else self._call())
        if self._talk is None and not self._trips.replies:
            raise ReplyError("not one frame was answered")
        return self.report()

    def report(self) -> Report:
        """Return the report of all calls so far."""
        report, talk = self._trips.report(self.request), self._talk
        return report if talk is None else replace(report, audio=talk.audio, heard=talk.heard())

    async def _call(self) -> None:
        """Hold one call from the upgrade to the last reply; raise ClientError."""
        address = self.request.address
        async with connection(
            address, self._token, max_message_size=self._longest_reply, steps=self._steps
        ) as ws:
            event = await started(ws, str(address))
            if event.get("handler"):
                self._talk = self._two_way(event)
                await self._talk.run(ws, str(address))
            else:
                await self._trips.run(ws, str(address))

    def _two_way(self, event: dict[str, Any]) -> TwoWay:
        if self._on_message is None:
            raise HandlerError("a handler answers, and it does not reply to each frame")
        if self._reconnect:
            raise HandlerError("a handler answers, and a lost talk cannot go on in another call")
        return TwoWay(*self._paced, event, self._on_reply, self._on_message)

    async def _call_again(self) -> None:
        """Hold one call after the other until every frame is sent; raise the last ClientError."""
        backoff = Backoff()
        while True:
            try:
                return await self._call()
            except ClientError as error:
                seconds = backoff.after_failure(error.retry_after, self._trips.replies)
                if seconds is None:
                    raise
                if self._trips.all_sent:
                    return self._on_loss(error, None)
                self._on_loss(error, seconds)
            await trio.sleep(seconds)


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
