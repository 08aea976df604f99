"""A small client: stream audio to the service in real time, and measure what comes back.

Every error is a ClientError whose text is one sentence for a person.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, isfinite

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from service.dial import Address, ClientError, connection, opened, plain
from service.wav import Audio

#: How long a reply may be overdue, in seconds; as long as the service waits for a stuck client.
REPLY_SECONDS = 10.0

#: Called after each reply, with how many replies there are and how many frames in all.
OnReply = Callable[[int, int], None]


class ClosedError(ClientError):
    """The call ended early; the code is 1006 where the connection was lost without a close."""

    def __init__(self, sentence: str, code: int, reason: str) -> None:
        super().__init__(sentence)
        self.code, self.reason = code, reason


class ReplyError(ClientError):
    """A reply did not come, or something came that is none."""


@dataclass(frozen=True)
class Report:
    """What a stream was like; times are in milliseconds.

    A round trip is from before a frame is written until its reply is read. A gap is more than two
    frame times between consecutive replies; a pause is the time between any two.
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

    @property
    def bytes_received(self) -> int:
        """How many bytes of audio came back."""
        return len(self.audio)


async def stream(
    audio: Audio,
    url: str,
    *,
    reply: str = "pcm16",
    codec: str | None = None,
    token: str | None = None,
    frame_ms: float = 20,
    speed: float = 1,
    on_reply: OnReply = lambda replies, frames: None,
) -> Report:
    """Stream the audio to the service, `speed` times as fast as it plays, and return the report.

    `on_reply` is called after each reply. Raises ClientError.
    """
    if not (isfinite(frame_ms) and isfinite(speed) and frame_ms > 0 and speed > 0):
        raise ValueError("frame_ms and speed must be positive numbers")
    query = {"encoding": "pcm16", "reply": reply, "sample_rate": str(audio.sample_rate)}
    if codec is not None:
        query["codec"] = codec
    address = Address.parse(url, query)
    samples = max(1, round(audio.sample_rate * frame_ms / 1000))
    frame_seconds = samples / audio.sample_rate / speed
    try:
        async with connection(address, token, max_message_size=max(2**20, 2 * samples)) as ws:
            exchange = Exchange(ws, audio.frames(samples), frame_seconds, on_reply)
            await exchange.run(str(address))
    except BaseExceptionGroup as group:
        raise opened(group, address) from None
    return exchange.report()


class Exchange:
    """Frames out on a schedule, and their replies in, on one open WebSocket."""

    def __init__(
        self,
        ws: WebSocketConnection,
        frames: Sequence[bytes],
        frame_seconds: float,
        on_reply: OnReply = lambda replies, frames: None,
    ) -> None:
        self._ws, self._frames, self._frame_seconds = ws, frames, frame_seconds
        self._on_reply = on_reply
        self._unanswered: deque[float] = deque()
        self._round_trips: list[float] = []
        self._arrivals: list[float] = []
        self._replies: list[bytes] = []

    async def run(self, peer: str) -> None:
        """Send every frame and wait for every reply; `peer` is what errors call the other side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            while len(self._replies) < len(self._frames):
                self._take(await self._next(peer), peer)
                self._on_reply(len(self._replies), len(self._frames))

    async def _send(self) -> None:
        began = trio.current_time()
        for number, frame in enumerate(self._frames):
            # Each due time is counted from the beginning, so that being late once does not add up.
            await trio.sleep_until(began + number * self._frame_seconds)
            self._unanswered.append(trio.current_time())
            try:
                await self._ws.send_message(frame)
            except (ConnectionClosed, LocalProtocolError):
                return  # the receiver says so, once it has the replies that are still on the way

    async def _next(self, peer: str) -> bytes | str:
        done = f"after {len(self._replies)} of {len(self._frames)} replies"
        # Every frame is answered, so no wait is longer than a frame and what a reply may take.
        with trio.move_on_after(self._frame_seconds + REPLY_SECONDS):
            try:
                return await self._ws.get_message()
            except ConnectionClosed as closed:
                code = 1006 if closed.reason is None else closed.reason.code
                reason = plain((closed.reason and closed.reason.reason) or "")
                sentence = f"the connection to {peer} was lost {done}"
                if code != 1006:
                    why = f" ({reason})" if reason else ""
                    sentence = f"the call to {peer} was closed with {code}{why} {done}"
                raise ClosedError(sentence, code, reason) from None
        raise ReplyError(f"{peer} sent no further reply for {REPLY_SECONDS:g} seconds {done}")

    def _take(self, reply: bytes | str, peer: str) -> None:
        now = trio.current_time()
        if isinstance(reply, str):
            raise ReplyError(f"{peer} sent text where audio was due")
        if not self._unanswered:
            raise ReplyError(f"{peer} sent a reply too many: every frame so far had one")
        self._round_trips.append(now - self._unanswered.popleft())
        self._arrivals.append(now)
        self._replies.append(reply)

    def report(self) -> Report:
        """Return what the exchange was like, after `run`."""
        times = sorted(1000 * seconds for seconds in self._round_trips)
        pauses = [later - earlier for earlier, later in pairwise(self._arrivals)]
        headers = dict(self._ws.handshake_headers)
        codec = headers.get(b"rt-audio-codec")
        return Report(
            codec=None if codec is None else plain(codec.decode("latin-1")),
            frames_sent=len(self._frames),
            frames_received=len(self._replies),
            bytes_sent=sum(map(len, self._frames)),
            audio=b"".join(self._replies),
            frame_ms=1000 * self._frame_seconds,
            p50_ms=percentile(times, 50),
            p95_ms=percentile(times, 95),
            p99_ms=percentile(times, 99),
            max_ms=times[-1],
            gaps=sum(pause > 2 * self._frame_seconds for pause in pauses),
            longest_pause_ms=1000 * max(pauses, default=0.0),
        )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent are not above (nearest rank)."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)]
