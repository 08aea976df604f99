"""The conversation of a call that has a handler: events in, audio and messages out at any time.

The link and the clock call it from one side, the handler's `Call` from the other. What is heard
goes through an `Inbox`, what is said through a `Playout`.
"""

import json
from collections import deque
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

import trio

from service import codec, logs
from service.audio.encodings import BYTES_PER_SAMPLE
from service.calls.clock import Clock
from service.calls.events import Digits, Event, Mark, Message
from service.calls.inbox import Inbox
from service.calls.playout import Playout
from service.calls.session import Conversion, Session, converted
from service.calls.terms import Terms
from service.conversation import Message as WireMessage
from service.conversation import Mouth, Work
from service.ending import FAULT, UNSUPPORTED_DATA, Ending, rejected, too_large
from service.tally import Tally

_log = logs.get(__name__)

#: How much audio may wait to be played, in seconds.
PLAY_SECONDS = 5.0
#: How many bytes may wait for a caller that does not read, before messages wait too.
UNWRITTEN_BYTES = 65536
#: The most characters of a text message from the caller.
TEXT_CHARACTERS = 65536
#: The keys of a telephone (ITU-T Q.23).
DIGITS = frozenset("0123456789*#ABCD")
#: How the names of marks begin that the handler does not see.
HEARD = "heard-"


class Duplex:
    """Both directions of one call.

    `pcm` is PCM16, mono, little-endian: heard at the caller's
    sample rate, and played at its reply rate.

    A caller that takes events is greeted with `started`, and gets marks, clears and messages.
    """

    def __init__(
        self, terms: Terms, tally: Tally, max_frame_bytes: int, clock: Clock, started: str
    ) -> None:
        self._tally, self._clock = tally, clock
        self._started = started if terms.events else None
        self.ear = Session(
            replace(terms, reply="pcm16", reply_rate=terms.sample_rate), tally, max_frame_bytes
        )
        sample_bytes = BYTES_PER_SAMPLE[terms.reply]
        self._rate = terms.reply_rate * sample_bytes
        self._playout = Playout(self._rate, sample_bytes, terms.lead)
        self._encoding: tuple[Conversion, ...] = ()
        if terms.reply != "pcm16":
            encode = codec.tier(terms.codec, terms.reply).encode
            self._encoding = ((encode, tally.encode_seconds[terms.codec, terms.reply]),)
        self._mouth: Mouth | None = None
        self._bytes_per_second = terms.sample_rate * 2
        self._inbox = Inbox(self._bytes_per_second, tally, live=terms.live)
        self._held = False
        self._last_came = self._last_seconds = 0.0
        self._unheard: deque[str] = deque()  # the names of marks that were not heard yet
        self._underruns = 0
        self._cleared_at: float | None = None
        self._in, self._out = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self.ended = False  # the caller hears nothing more

    # The link's side.

    def begin(self, mouth: Mouth) -> None:
        """Take the mouth, and greet a caller that takes events."""
        self._mouth = mouth
        if self._started is not None:
            mouth.say(self._started)

    def receive(self, message: WireMessage) -> Ending | Work | None:
        """Hear a message; return the ending that it brings, or long work in pieces."""
        if isinstance(message, str):
            return self._hear_text(message)
        heard = self.ear.receive(message)
        if type(heard) is bytes:
            self._hear(heard)
            return None
        return heard if isinstance(heard, Ending) else self._hear_in_pieces(heard)  # type: ignore[arg-type]

    def replied(self, message: WireMessage, seconds: float) -> None:
        """Count nothing: no message has a reply."""

    def over(self) -> None:
        """Take note that the conversation is over; whoever waits is told."""
        self.ended = True
        self._clock.remove(self._speak)
        self._in.unpark_all()
        self._out.unpark_all()

    # The handler's side.

    async def event(self) -> bytes | Event | None:
        """Return the next audio, as pcm, or the next event; None once there will be none."""
        self._inbox.listening = True
        if self._inbox:
            await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self.ended:
                return None
            await self._in.park()
        item = self._inbox.take()
        if self._held and self._inbox.half_empty:
            self._hold(False)
        return item

    @property
    def waiting(self) -> float:
        """How many seconds of audio wait to be played."""
        return self._playout.waiting

    @property
    def silent(self) -> bool:
        """Whether nothing is left to be heard, by the clock."""
        return self._playout.silent or self.ended

    async def written(self) -> None:
        """Return when few bytes wait for the caller to read, or the conversation is over."""
        while not self.ended and self._mouth and self._mouth.unwritten > UNWRITTEN_BYTES:
            self._clock.add(self._speak)
            await self._out.park()

    @property
    def position(self) -> float:
        """How many seconds of audio the caller has heard."""
        return self._playout.position(trio.current_time())

    def play(self, pcm: bytes) -> None:
        """Have audio heard behind all that waits."""
        now = trio.current_time()
        first = self._playout.silent
        self._playout.play(converted(pcm, self._encoding), now)
        self._tally.underruns += self._playout.underruns - self._underruns
        self._underruns = self._playout.underruns
        self._tally.queue_seconds["outbound"].add(self._playout.waiting)
        if first:
            self._clock.add(self._speak)
            self._speak(now)

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits to be played."""
        self._unheard.append(name)
        self._playout.mark(name)
        self._clock.add(self._speak)

    def unheard(self, name: str) -> bool:
        """Return whether a mark waits to be heard."""
        return name in self._unheard and not self.ended

    async def changed(self) -> None:
        """Return when audio was played, marks were heard, or the conversation is over."""
        await self._out.park()

    def clear(self) -> float:
        """Stop the playing; return the seconds heard of what was played since the last silence."""
        assert self._mouth is not None
        recalled = self._started is not None
        heard = self._playout.clear(trio.current_time(), recalled=recalled)
        self._unheard.clear()
        self._cleared_at = perf_counter()
        if recalled:
            self._say({"type": "clear"})
        self._clock.add(self._speak)
        self._out.unpark_all()
        return heard

    def say(self, event: dict[str, Any]) -> bool:
        """Send an event to a caller that takes events; return whether this one does."""
        if self._started is None or self.ended:
            return False
        self._say(event)
        return True

    def end(self, ending: Ending) -> None:
        """End the call once what was said is written."""
        if self._mouth is not None:
            self._mouth.end(ending)

    def _say(self, event: dict[str, Any]) -> None:
        assert self._mouth is not None
        self._mouth.say(json.dumps(event))

    # The clock's side.

    def _speak(self, now: float) -> None:
        try:
            self._send_due(now)
        except Exception:
            _log.exception("call_failed")
            self.end(FAULT)

    def _send_due(self, now: float) -> None:
        """Send the audio and the marks that are due."""
        mouth, playout, tally = self._mouth, self._playout, self._tally
        if mouth is None or self.ended or mouth.unwritten:
            return
        if self._cleared_at is not None:
            tally.clear_seconds.add(perf_counter() - self._cleared_at)
            self._cleared_at = None
        for item in playout.due(now):
            if isinstance(item, bytes):
                mouth.say(item)
                tally.spoken_frames += 1
                tally.outbound_seconds += len(item) / self._rate
            elif self._started is not None:
                self._say({"type": "mark", "name": item})
        reached = playout.reached(now)
        if self._started is None:
            for name in reached:
                self._mark_heard(name)
        if self._out and (reached or playout.waiting < PLAY_SECONDS):
            self._out.unpark_all()
        if playout.silent:
            self._clock.remove(self._speak)
            self._out.unpark_all()

    # What is heard.

    def _hear(self, pcm: bytes) -> None:
        now, seconds = perf_counter(), len(pcm) / self._bytes_per_second
        if self._last_came:
            late = abs(now - self._last_came - self._last_seconds)
            self._tally.interarrival_jitter_seconds.add(late)
        self._last_came, self._last_seconds = now, seconds
        self._keep(pcm)
        self._tally.queue_seconds["inbound"].add(self._inbox.seconds)

    def _hear_in_pieces(self, work: Work) -> Work:
        pcm = yield from work
        assert isinstance(pcm, bytes)
        self._hear(pcm)
        return None

    def _hear_text(self, message: str) -> Ending | None:
        if len(message) > TEXT_CHARACTERS:
            return too_large(TEXT_CHARACTERS)
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return _refused("a text message must be JSON")
        match event:
            case {"type": "mark", "name": str(name)}:
                self._mark_heard(name)
            case {"type": "cleared", "milliseconds": int() | float() as milliseconds}:
                self._playout.recalled(milliseconds / 1000)
            case {"type": "digits", "digits": str(digits)} if set(digits) <= DIGITS:
                self._keep(Digits(digits))
            case {"type": "message", "message": data}:
                self._keep(Message(data))
            case _:
                return _refused("a text message must be a mark, cleared, digits or message event")
        return None

    def _mark_heard(self, name: str) -> None:
        with suppress(ValueError):  # the caller may name a mark that was cleared meanwhile
            self._unheard.remove(name)
            if not name.startswith(HEARD):
                self._keep(Mark(name))
            self._out.unpark_all()

    def _keep(self, item: bytes | Event) -> None:
        """Keep audio or an event for the handler."""
        self._inbox.keep(item)
        if self._inbox.full:
            self._hold(True)
        self._in.unpark()

    def _hold(self, held: bool) -> None:
        if held is not self._held and self._mouth is not None:
            self._held = held
            self._mouth.hold(held)


def _refused(reason: str) -> Ending:
    return rejected("text", UNSUPPORTED_DATA, reason)
