"""A small client: stream audio to the service in real time, and measure what comes back.

Every error is a ClientError whose text is one sentence for a person. A call that is lost can be
taken up again: another call goes on with the next frame that was not sent.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import ceil, inf, isfinite

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from service.audio.wav import Audio
from service.client.backoff import Backoff
from service.client.dial import Address, ClientError, connection, opened, plain

#: How long a reply may be overdue, in seconds; as long as the service waits for a stuck client.
REPLY_SECONDS = 10.0

#: Close codes after which another call may go well: going away, service restart, try again later
#: (IANA's registry), and 1006 for a lost connection.
RECONNECT_CODES = frozenset({1001, 1006, 1012, 1013})

#: Called after each reply, with how many replies there are and how many frames in all.
OnReply = Callable[[int, int], None]
#: Called when a call was lost, or could not be made, with why and how many seconds it is to the
#: next try; None if every frame had been sent, so that there is nothing to call again for.
OnLoss = Callable[[ClientError, float | None], None]


class ClosedError(ClientError):
    """The call ended early; the code is 1006 where the connection was lost without a close."""

    def __init__(self, sentence: str, code: int, reason: str) -> None:
        super().__init__(sentence)
        self.code, self.reason = code, reason
        self.retry_after = 0.0 if code in RECONNECT_CODES else None


class ReplyError(ClientError):
    """A reply did not come, or something came that is none."""


class SilenceError(ReplyError):
    """A reply is overdue: whoever was there is gone without a word."""

    retry_after = 0.0


@dataclass(frozen=True)
class Report:
    """What a stream was like; times are in milliseconds.

    A round trip is from before a frame is written until its reply is read. A gap is more than two
    frame times between consecutive replies, a reconnect's included; a pause is the time between any
    two. `reconnects_ms` has for each reconnect the time from the end of one call to the first reply
    of the next.
    """

    codec: str | None
    frames_sent: int
    frames_received: int
    bytes_sent: int
    audio: bytes = field(repr=False)
    frame_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    gaps: int
    longest_pause_ms: float
    reconnects_ms: tuple[float, ...] = ()

    @property
    def bytes_received(self) -> int:
        """How many bytes of audio came back."""
        return len(self.audio)

    @property
    def frames_unanswered(self) -> int:
        """How many frames were sent in calls that ended before their replies came."""
        return self.frames_sent - self.frames_received


async def stream(
    audio: Audio,
    url: str,
    *,
    reply: str = "pcm16",
    codec: str | None = None,
    token: str | None = None,
    frame_ms: float = 20,
    speed: float = 1,
    reconnect: bool = False,
    on_reply: OnReply = lambda replies, frames: None,
    on_loss: OnLoss = lambda error, seconds: None,
) -> Report:
    """Stream the audio to the service, `speed` times as fast as it plays, and return the report.

    With `reconnect` a call that is lost, refused for now or told to come back is taken up again
    after a back-off: nothing of the audio is skipped, no frame is sent twice, and those that were
    not answered stay so. It raises the last error once PATIENCE_SECONDS have passed without a
    reply, and at once an error that would come again. `on_reply` is called after each reply,
    `on_loss` after each loss. Raises ClientError.
    """
    if not (isfinite(frame_ms) and isfinite(speed) and frame_ms > 0 and speed > 0):
        raise ValueError("frame_ms and speed must be positive numbers")
    query = {"encoding": audio.encoding, "reply": reply, "sample_rate": str(audio.sample_rate)}
    if codec is not None:
        query["codec"] = codec
    address = Address.parse(url, query)
    samples = max(1, round(audio.sample_rate * frame_ms / 1000))
    frame_seconds = samples / audio.sample_rate / speed
    exchange = Exchange(audio.frames(samples), frame_seconds, on_reply)
    call = partial(_call, exchange, address, token, max(2**20, 2 * samples))
    await (_call_again(call, exchange, on_loss) if reconnect else call())
    return exchange.report()


async def _call(exchange: "Exchange", address: Address, token: str | None, limit: int) -> None:
    """Hold one call from the upgrade to the last reply; raise ClientError."""
    try:
        async with connection(address, token, max_message_size=limit) as ws:
            await exchange.run(ws, str(address))
    except BaseExceptionGroup as group:
        raise opened(group, address) from None


async def _call_again(
    call: Callable[[], Awaitable[None]], exchange: "Exchange", on_loss: OnLoss
) -> None:
    """Make the call until every frame is sent; raise the error after which no other is made."""
    backoff = Backoff()
    while True:
        try:
            return await call()
        except ClientError as error:
            seconds = backoff.after_failure(error.retry_after, exchange.replies)
            if seconds is None:
                raise
            if exchange.all_sent:
                return on_loss(error, None)
            on_loss(error, seconds)
        await trio.sleep(seconds)


class Exchange:
    """Frames out on a schedule, and their replies in, on one open WebSocket after the other."""

    def __init__(
        self,
        frames: Sequence[bytes],
        frame_seconds: float,
        on_reply: OnReply = lambda replies, frames: None,
    ) -> None:
        self._frames, self._frame_seconds = frames, frame_seconds
        self._on_reply = on_reply
        self._codec: str | None = None
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
        """How many replies there are."""
        return len(self._replies)

    @property
    def all_sent(self) -> bool:
        """Whether no frame is left to be sent."""
        return self._sent == len(self._frames)

    async def run(self, ws: WebSocketConnection, peer: str) -> None:
        """Send every frame that was not sent yet, and wait for its reply; raise ClientError.

        `peer` is what errors call the other side.
        """
        codec = dict(ws.handshake_headers).get(b"rt-audio-codec")
        self._codec = None if codec is None else plain(codec.decode("latin-1"))
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
        # Each due time follows from the one before, so that being late once does not add up; and
        # the audio is no earlier than real time after a call that was soon taken up again.
        self._due = max(self._due, trio.current_time())
        while not self.all_sent:
            await trio.sleep_until(self._due)
            self._unanswered.append(trio.current_time())
            self._sent += 1
            try:
                await ws.send_message(self._frames[self._sent - 1])
            except (ConnectionClosed, LocalProtocolError):
                # The receiver says so, once it has the replies that are still on the way.
                self._unanswered.pop()
                self._sent -= 1
                return
            self._due += self._frame_seconds

    async def _next(self, ws: WebSocketConnection, peer: str) -> bytes | str:
        done = f"after {len(self._replies)} of {len(self._frames)} replies"
        # Every frame is answered, so no wait is longer than a frame and what a reply may take.
        with trio.move_on_after(self._frame_seconds + REPLY_SECONDS):
            try:
                return await ws.get_message()
            except ConnectionClosed as closed:
                code = 1006 if closed.reason is None else closed.reason.code
                reason = plain((closed.reason and closed.reason.reason) or "")
                sentence = f"the connection to {peer} was lost {done}"
                if code != 1006:
                    why = f" ({reason})" if reason else ""
                    sentence = f"the call to {peer} was closed with {code}{why} {done}"
                raise ClosedError(sentence, code, reason) from None
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

    def report(self) -> Report:
        """Return what the exchange was like; raise ReplyError if there was not one reply."""
        if not self._replies:
            raise ReplyError("not one frame was answered")
        times = sorted(1000 * seconds for seconds in self._round_trips)
        pauses = [later - earlier for earlier, later in pairwise(self._arrivals)]
        return Report(
            codec=self._codec,
            frames_sent=self._sent,
            frames_received=len(self._replies),
            bytes_sent=sum(map(len, self._frames[: self._sent])),
            audio=b"".join(self._replies),
            frame_ms=1000 * self._frame_seconds,
            p50_ms=percentile(times, 50),
            p95_ms=percentile(times, 95),
            p99_ms=percentile(times, 99),
            max_ms=times[-1],
            gaps=sum(pause > 2 * self._frame_seconds for pause in pauses),
            longest_pause_ms=1000 * max(pauses, default=0.0),
            reconnects_ms=tuple(1000 * seconds for seconds in self._reconnects),
        )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent are not above (nearest rank)."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)]
