"""The caller's side of a two-way call, which a handler answers: it speaks, and listens as one does.

What comes is played by a clock, in real time. By that clock the service is told what was heard.
"""

import json
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from service.audio.encodings import BYTES_PER_SAMPLE, SILENCE
from service.audio.wav import Audio
from service.client.dial import ClientError
from service.client.messages import ClosedError, receive
from service.codec import choose
from service.plain import plain

#: The caller hangs up after so many seconds in which nothing was heard, once it has said all.
LISTEN_SECONDS = 5.0

#: Whose samples are all below this (of 32768) is silent: -50 dB, and A-law has no zero.
_QUIET = 100

#: Called with each message and each group of digits from the handler, as a text for a person.
OnMessage = Callable[[str], None]


class HandlerError(ClientError):
    """A handler answers, and the call cannot go on with one."""


@dataclass(frozen=True)
class Heard:
    """How a two-way call went; the seconds are of audio.

    After its own audio the caller sent silence. Of what came, the handler cleared some before it
    was played. `marks` were heard and returned.
    """

    codec: str
    sent_seconds: float
    silence_seconds: float
    clears: int
    cleared_seconds: float
    marks: int
    messages: int
    ending: str


class Player:
    """What comes, played by a clock; `now` is an argument, in seconds."""

    def __init__(self, sample_rate: int, encoding: str) -> None:
        self._sample_bytes = BYTES_PER_SAMPLE[encoding]
        self._rate = sample_rate * self._sample_bytes
        self.audio = bytearray()  # all that came, without what was cleared
        self.cleared_bytes = 0
        self.until = float("-inf")  # when all of it is played,
        self.sound_until = float("-inf")  # and when what comes then is silent
        self._decode = None if encoding == "pcm16" else choose(law=encoding).decode

    def play(self, audio: bytes, now: float) -> None:
        """Have audio played behind all that waits."""
        self.until = max(self.until, now) + len(audio) / self._rate
        self.audio += audio
        if not self._silent(audio):
            self.sound_until = self.until

    def _silent(self, audio: bytes) -> bool:
        pcm = array("h", audio if self._decode is None else self._decode(audio))
        return not pcm or (max(pcm) < _QUIET and min(pcm) > -_QUIET)

    def clear(self, now: float) -> float:
        """Drop what was not played yet; return how many seconds were played, in all."""
        samples = round(max(0.0, self.until - now) * self._rate / self._sample_bytes)
        left = min(samples * self._sample_bytes, len(self.audio))
        del self.audio[len(self.audio) - left :]
        self.cleared_bytes += left
        self.until, self.sound_until = min(self.until, now), min(self.sound_until, now)
        return len(self.audio) / self._rate

    def seconds(self, size: int) -> float:
        """Return how long so many bytes play."""
        return size / self._rate


class TwoWay:
    """One two-way call: frames, then silence, until one side hangs up."""

    def __init__(
        self,
        frames: Sequence[bytes],
        frame_seconds: float,
        started: dict[str, Any],
        on_frame: Callable[[int, int], None],
        on_message: OnMessage,
    ) -> None:
        """Prepare the call of which the service has said `started`; raise ClientError."""
        try:
            self._rate, self._encoding = int(started["reply_rate"]), str(started["reply"])
            self._codec = plain(str(started["codec"]))
            self._player = Player(self._rate, self._encoding)
            sent, rate = str(started["encoding"]), int(started["sample_rate"])
            self._silence = SILENCE[sent] * max(map(len, frames))
            self._bytes_per_second = rate * BYTES_PER_SAMPLE[sent]
        except (LookupError, TypeError, ValueError):
            raise HandlerError("the service began a call without saying its terms") from None
        self._frames, self._frame_seconds = frames, frame_seconds
        self._on_frame, self._on_message = on_frame, on_message
        self._marks: deque[tuple[float, str]] = deque()  # and when their audio is played
        self._last_word = float("-inf")  # when the last frame is sent, or an event came
        self._ending = "interrupted"
        self._clears = self._marks_heard = self._messages = 0
        self._bytes_sent = self._silent_bytes = 0

    async def run(self, ws: WebSocketConnection, peer: str) -> None:
        """Say all frames, and listen until one side hangs up; raise ClosedError in a group.

        A close with 1000 is the handler's way to hang up, and no error.
        """
        self._last_word = trio.current_time() + len(self._frames) * self._frame_seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak, ws)
            await self._listen(ws, peer)
            nursery.cancel_scope.cancel()

    async def _speak(self, ws: WebSocketConnection) -> None:
        due = trio.current_time()
        with suppress(ConnectionClosed, LocalProtocolError):  # `_listen` says how it ended
            for number, frame in enumerate(self._frames, 1):
                await trio.sleep_until(due)
                await ws.send_message(frame)
                self._bytes_sent += len(frame)
                self._last_word = max(self._last_word, trio.current_time())
                self._on_frame(number, len(self._frames))
                due += self._frame_seconds
            # A microphone does not stop: who waits for a pause waits for silent frames.
            while True:
                await trio.sleep_until(due)
                await ws.send_message(self._silence)
                self._silent_bytes += len(self._silence)
                due += len(self._silence) / self._bytes_per_second

    async def _listen(self, ws: WebSocketConnection, peer: str) -> None:
        while True:
            message: bytes | str | None = None
            with trio.move_on_at(min([self._patience, *(due for due, _ in self._marks)])):
                try:
                    message = await receive(ws, peer, self._done)
                except ClosedError as closed:
                    if closed.code != 1000:
                        raise
                    why = f": {closed.reason}" if closed.reason else ""
                    self._ending = f"the service hung up{why}"
                    return
            now = trio.current_time()
            if now >= self._patience:
                self._ending = f"nothing was heard for {LISTEN_SECONDS:g} s"
                return
            if isinstance(message, bytes):
                self._player.play(message, now)
            elif message is not None:
                await self._take(ws, message, now)
            while self._marks and self._marks[0][0] <= now:
                self._marks_heard += 1
                await self._tell(ws, {"type": "mark", "name": self._marks.popleft()[1]})

    @property
    def _patience(self) -> float:
        """Until when to listen if nothing but silence comes; an echo of our own never ends."""
        return max(self._last_word, self._player.sound_until) + LISTEN_SECONDS

    async def _take(self, ws: WebSocketConnection, message: str, now: float) -> None:
        """Obey an event. One of an unknown type is another version's."""
        self._last_word = max(self._last_word, now)
        try:
            event = json.loads(message)
        except ValueError:
            return
        match event:
            case {"type": "mark", "name": str(name)}:
                self._marks.append((max(self._player.until, now), name))
            case {"type": "clear"}:
                self._marks.clear()
                self._clears += 1
                milliseconds = round(1000 * self._player.clear(now))
                await self._tell(ws, {"type": "cleared", "milliseconds": milliseconds})
            case {"type": "digits", "digits": digits}:
                self._on_message(f"digits: {plain(str(digits))}")
            case {"type": "message", "message": data}:
                self._messages += 1
                self._on_message(f"message: {plain(json.dumps(data, ensure_ascii=False))}")

    async def _tell(self, ws: WebSocketConnection, event: dict[str, Any]) -> None:
        with suppress(ConnectionClosed, LocalProtocolError):  # the next `receive` says how it ended
            await ws.send_message(json.dumps(event))

    def _done(self) -> str:
        sent = self._bytes_sent / self._bytes_per_second
        heard = self._player.seconds(len(self._player.audio))
        return f"after {sent:.1f} s were sent and {heard:.1f} s heard"

    @property
    def audio(self) -> Audio:
        """What came so far, without pauses, and without what was cleared before it was played."""
        return Audio(bytes(self._player.audio), self._rate, self._encoding)

    def heard(self) -> Heard:
        """Return how the call went so far."""
        player = self._player
        return Heard(
            codec=self._codec,
            sent_seconds=self._bytes_sent / self._bytes_per_second,
            silence_seconds=self._silent_bytes / self._bytes_per_second,
            clears=self._clears,
            cleared_seconds=player.seconds(player.cleared_bytes),
            marks=self._marks_heard,
            messages=self._messages,
            ending=self._ending,
        )
