"""The conversation of a call that has a handler: events in, audio and messages out at any time.

The link and the clock call it from one side, the handler's `Call` from the other. What is heard
goes through an `Inbox`, what is said through a `Playout`.
"""

from collections import deque
from contextlib import suppress
from dataclasses import replace
from time import perf_counter

import trio

from service import codec, logs
from service.audio.encodings import BYTES_PER_SAMPLE
from service.calls.clock import Clock
from service.calls.inbox import Inbox
from service.calls.playout import Playout
from service.calls.session import Conversion, Session, converted
from service.calls.terms import Terms
from service.conversation import Message as WireMessage
from service.conversation import Mouth, Work
from service.dialects.events import BadMessage, Clear, Cleared, Event, Mark
from service.dialects.half import Half
from service.ending import FAULT, UNSUPPORTED_DATA, Ending, rejected, too_large
from service.tally import Tally

_log = logs.get(__name__)

#: How much audio may wait to be played, in seconds.
PLAY_SECONDS = 5.0
#: How many bytes may wait for a caller that does not read, before messages wait too.
UNWRITTEN_BYTES = 65536
#: The most characters of a text message from the caller.
TEXT_CHARACTERS = 65536
#: How the names of marks begin that the handler does not see.
HEARD = "heard-"


class Duplex:
    """Both directions of one call.

    `pcm` is PCM16, mono, little-endian, heard at the sample rate and played at the reply rate.
    A caller that takes events is greeted with `started`, and gets marks, clears and messages.
    """

    def __init__(
        self, terms: Terms, tally: Tally, max_frame_bytes: int, clock: Clock, half: Half,
        greeting: str | None,
    ) -> None:  # fmt: skip
        self._tally, self._clock = tally, clock
        self._half, self._greeting = half, greeting
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
        self._unheard: deque[str] = deque()  # the names of marks that were not heard yet;
        self._reached: deque[str] = deque()  # by the clock these were, but the caller is silent
        self._underruns = 0
        self._cleared_at: float | None = None
        self._in, self._out = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._hearing = False  # a task waits for what is heard
        self._asks_clock = False
        self.ended = False  # the caller hears nothing more

    # The link's side.

    def begin(self, mouth: Mouth) -> None:
        """Take the mouth, and greet a caller that takes events."""
        self._mouth = mouth
        if self._greeting is not None:
            mouth.say(self._greeting)

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
        # The mouth knows this conversation: a cycle, which only the garbage collector would free.
        self._mouth = None
        self._clock.remove(self._speak)
        self._in.unpark_all()
        self._out.unpark_all()

    # The handler's side.

    async def event(self) -> bytes | Event | None:
        """Return the next audio, as pcm, or the next event; None once there will be none.

        Raises trio.BusyResourceError while another task waits here. A cancellation loses nothing.
        """
        if self._hearing:
            raise trio.BusyResourceError("another task hears this call")
        self._hearing = self._inbox.listening = True
        try:
            # Nothing below waits then; a handler that asks on and on must not hold up the others.
            if self._inbox or self.ended:
                await trio.lowlevel.checkpoint()
            while not self._inbox:
                if self.ended:
                    return None
                await self._in.park()
        finally:
            self._hearing = False
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
        return self.ended or self._playout.silent(trio.current_time())

    @property
    def all_heard(self) -> bool:
        """Whether nothing is left to be heard, and the caller has said so of each mark."""
        return self.silent and not self._unheard

    async def written(self) -> None:
        """Return when few bytes wait for the caller to read, or the conversation is over."""
        while not self.ended and self._mouth and self._mouth.unwritten > UNWRITTEN_BYTES:
            self._ask_clock()
            await self._out.park()

    @property
    def position(self) -> float:
        """How many seconds of audio the caller has heard."""
        return self._playout.position(trio.current_time())

    def play(self, pcm: bytes) -> None:
        """Have audio heard behind all that waits."""
        if not pcm:
            return
        now = trio.current_time()
        self._playout.play(converted(pcm, self._encoding), now)
        self._tally.underruns += self._playout.underruns - self._underruns
        self._underruns = self._playout.underruns
        self._tally.queue_seconds["outbound"].add(self._playout.waiting)
        # What is due goes out at once; the clock is for the rest.
        self._speak(now)
        if self._playout.pending:
            self._ask_clock()

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits to be played."""
        self._unheard.append(name)
        self._playout.mark(name)
        self._ask_clock()

    def unheard(self, name: str) -> bool:
        """Return whether a mark waits to be heard."""
        return name in self._unheard and not self.ended

    async def changed(self) -> None:
        """Return when audio was played, marks were heard, or the conversation is over."""
        self._ask_clock()
        await self._out.park()

    def clear(self) -> float:
        """Stop the playing; return the seconds heard of what was played since the last silence."""
        now, recalled = trio.current_time(), self._half.clears
        heard = self._playout.clear(now, recalled=recalled)
        self._unheard.clear()
        self._reached.clear()
        self._cleared_at = perf_counter()
        if recalled:
            self.say(Clear())
        self._ask_clock()
        self._speak(now)
        self._out.unpark_all()
        return heard

    def say(self, event: Event) -> bool:
        """Send an event; return whether the caller's dialect has a word for it."""
        if self._mouth is None or self.ended:
            return False
        messages = self._half.say(event)
        for message in messages:
            self._mouth.say(message)
        return bool(messages)

    def end(self, ending: Ending) -> None:
        """End the call once what was said is written; nothing more is said."""
        if self._mouth is not None:
            self._mouth.end(ending)
        self.over()

    def _ask_clock(self) -> None:
        if not self.ended and not self._asks_clock:
            self._asks_clock = True
            self._clock.add(self._speak)

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
            else:
                self.say(Mark(item))
        self._reached += (name for name in playout.reached(now) if name in self._unheard)
        self._believe_clock()
        if self._out and playout.waiting < PLAY_SECONDS:
            self._out.unpark_all()
        if playout.silent(now):
            self._out.unpark_all()
        if self._asks_clock and not playout.pending and not self._out:
            self._asks_clock = False
            self._clock.remove(self._speak)

    # What is heard.

    def _hear(self, pcm: bytes) -> None:
        if not pcm:
            return
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
            events = self._half.hear(message)
        except BadMessage as bad:
            return rejected("text", bad.code or UNSUPPORTED_DATA, str(bad))
        assert isinstance(events, tuple), "a text message is no audio"
        for event in events:
            match event:
                case Mark(name):
                    with suppress(ValueError):
                        self._reached.remove(name)
                    self._mark_heard(name)
                case Cleared(seconds) if seconds is not None:
                    self._playout.recalled(seconds)
                case _:
                    self._keep(event)
        return None

    def _mark_heard(self, name: str) -> None:
        with suppress(ValueError):  # the caller may name a mark that was cleared meanwhile
            self._unheard.remove(name)
            if not name.startswith(HEARD):
                self._keep(Mark(name))
            self._out.unpark_all()

    def _believe_clock(self) -> None:
        """Have marks heard by the clock while the caller cannot say it: its words are not read.

        A handler that waits for a mark does not listen, so its caller's audio soon fills the inbox.
        """
        while self._reached and (not self._half.marks or self._held):
            self._mark_heard(self._reached.popleft())

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
            self._believe_clock()
