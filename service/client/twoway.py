"""The caller's side of a two-way call, which a handler answers: it speaks, and listens as one does.

What comes is played by a clock, in real time. By that clock the service is told what was heard.
"""

import json
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
from service.client.dial import CLOSE_SECONDS, ClientError
from service.client.messages import ClosedError, receive
from service.client.player import Player
from service.dialects.events import (
    Alive,
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Fault,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.half import Half
from service.plain import plain

#: The caller hangs up after so many seconds in which nothing was heard, once it has said all.
LISTEN_SECONDS = 5.0

#: Called with each message and each group of digits from the handler, as a text for a person.
OnMessage = Callable[[str], None]


class HandlerError(ClientError):
    """A handler answers, and the call cannot go on with one."""


@dataclass(frozen=True)
class Heard:
    """How a two-way call went; the seconds are of audio.

    After its own audio the caller sent silence. Of what came, the handler cleared some before it
    was played. `marks` were heard and returned. `skipped` says what was wrong with messages.
    """

    sent_seconds: float
    silence_seconds: float
    clears: int
    cleared_seconds: float
    marks: int
    messages: int
    skipped: tuple[str, ...]
    ending: str


def start_of(started: dict[str, Any]) -> Start:
    """Return the start of a call of which the service has said `started`; raise HandlerError."""
    try:
        sent = Format(str(started["encoding"]), int(started["sample_rate"]))
        played = Format(str(started["reply"]), int(started["reply_rate"]))
    except (LookupError, TypeError, ValueError):
        sent = played = Format("", 0)
    if {sent.encoding, played.encoding} <= BYTES_PER_SAMPLE.keys():
        return Start(sent, played)
    raise HandlerError("the service began a call without saying its terms")


class TwoWay:
    """One two-way call: frames, then silence, until one side hangs up.

    `half` is how the caller speaks. `start` has the formats of what it sends and plays.
    `digits` are pressed as soon as the audio has begun. With `returns_marks` a clear brings the
    marks back which wait.
    """

    def __init__(
        self,
        half: Half,
        start: Start,
        frames: Sequence[bytes],
        frame_seconds: float,
        on_frame: Callable[[int, int], None],
        on_message: OnMessage,
        *,
        digits: str = "",
        returns_marks: bool = False,
    ) -> None:
        sent, played = start.heard, start.played
        self._half, self._played, self._player = half, played, Player(played)
        self._silence = SILENCE[sent.encoding] * max(map(len, frames))
        self._bytes_per_second = sent.rate * BYTES_PER_SAMPLE[sent.encoding]
        self._frames, self._frame_seconds = frames, frame_seconds
        self._on_frame, self._on_message = on_frame, on_message
        self._digits, self._returns_marks = digits, returns_marks
        self._marks: deque[tuple[float, Mark]] = deque()  # and when their audio is played
        self._last_word = float("-inf")  # when the last frame is sent, or a message or digits came
        self._ending = "interrupted"
        self._hung_up = False  # by an event of the service
        self._skipped: list[str] = []
        self._clears = self._marks_heard = self._messages = 0
        self._bytes_sent = self._silent_bytes = 0

    async def run(self, ws: WebSocketConnection, peer: str) -> None:
        """Say all frames, and listen until one side hangs up; raise ClosedError in a group.

        A close with 1000 is the handler's way to hang up, and no error.
        """
        self._last_word = trio.current_time() + len(self._frames) * self._frame_seconds
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._speak, ws)
                await self._listen(ws, peer)
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self.tell(ws, Stop())

    async def _speak(self, ws: WebSocketConnection) -> None:
        due = trio.current_time()
        with suppress(ConnectionClosed, LocalProtocolError):  # `_listen` says how it ended
            for number, frame in enumerate(self._frames, 1):
                await trio.sleep_until(due)
                await ws.send_message(self._half.audio(frame))
                self._bytes_sent += len(frame)
                self._last_word = max(self._last_word, trio.current_time())
                self._on_frame(number, len(self._frames))
                if number == 1 and self._digits:
                    await self.tell(ws, Digits(self._digits))
                due += self._frame_seconds
            # A microphone does not stop: who waits for a pause waits for silent frames.
            while True:
                await trio.sleep_until(due)
                await ws.send_message(self._half.audio(self._silence))
                self._silent_bytes += len(self._silence)
                due += len(self._silence) / self._bytes_per_second

    async def _listen(self, ws: WebSocketConnection, peer: str) -> None:
        while not self._hung_up:
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
            if message is not None:
                await self._take(ws, peer, message, now)
            while self._marks and self._marks[0][0] <= now:
                self._marks_heard += 1
                await self.tell(ws, self._marks.popleft()[1])

    @property
    def _patience(self) -> float:
        """Until when to listen if nothing but silence comes; an echo of our own never ends."""
        return max(self._last_word, self._player.sound_until) + LISTEN_SECONDS

    async def _take(
        self, ws: WebSocketConnection, peer: str, message: bytes | str, now: float
    ) -> None:
        """Play audio, and obey events."""
        try:
            told = self._half.hear(message)
        except BadMessage as bad:
            if bad.code is not None:
                await ws.aclose(bad.code, str(bad))
                raise ClientError(f"{peer} sent a wrong message: {plain(str(bad))}") from None
            self._skipped.append(plain(str(bad)))
            return
        for each in (told,) if isinstance(told, bytes) else told:
            if isinstance(each, bytes):
                self._player.play(each, now)
            else:
                if isinstance(each, Digits | Message):
                    self._last_word = max(self._last_word, now)
                await self._obey(ws, each, now)

    async def _obey(self, ws: WebSocketConnection, event: Event, now: float) -> None:
        match event:
            case Mark():
                self._marks.append((max(self._player.until, now), event))
            case Clear():
                self._clears += 1
                await self.tell(ws, Cleared(self._player.clear(now)))
                while self._marks:
                    _, mark = self._marks.popleft()
                    if self._returns_marks:
                        await self.tell(ws, mark)
            case Digits(digits):
                self._on_message(f"digits: {digits}")
            case Message(data):
                self._messages += 1
                self._on_message(f"message: {plain(json.dumps(data, ensure_ascii=False))}")
            case Alive():
                await self.tell(ws, event)
            case Fault(text):
                self._on_message(f"fault: {plain(text)}")
            case Stop():
                self._hung_up = True
                self._ending = "the service hung up"

    async def tell(self, ws: WebSocketConnection, event: Event) -> None:
        """Say an event, if the dialect has a word for it."""
        with suppress(ConnectionClosed, LocalProtocolError):  # the next `receive` says how it ended
            for message in self._half.say(event):
                await ws.send_message(message)

    def _done(self) -> str:
        sent = self._bytes_sent / self._bytes_per_second
        heard = self._player.seconds(len(self._player.audio))
        return f"after {sent:.1f} s were sent and {heard:.1f} s heard"

    @property
    def audio(self) -> Audio:
        """What came so far, without pauses, and without what was cleared before it was played."""
        return Audio(bytes(self._player.audio), self._played.rate, self._played.encoding)

    def heard(self) -> Heard:
        """Return how the call went so far."""
        player = self._player
        return Heard(
            sent_seconds=self._bytes_sent / self._bytes_per_second,
            silence_seconds=self._silent_bytes / self._bytes_per_second,
            clears=self._clears,
            cleared_seconds=player.seconds(player.cleared_bytes),
            marks=self._marks_heard,
            messages=self._messages,
            skipped=tuple(self._skipped),
            ending=self._ending,
        )
