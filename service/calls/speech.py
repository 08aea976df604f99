"""What is said in a two-way call: the handler's audio and marks, on their way to the caller."""

from collections import deque
from collections.abc import Callable
from time import perf_counter

import trio

from service import codec, logs
from service.audio.encodings import BYTES_PER_SAMPLE, SILENCE
from service.calls.clock import Clock
from service.calls.playout import FRAME_SECONDS, Playout
from service.calls.session import Conversion, converted
from service.calls.terms import Terms
from service.conversation import Mouth
from service.dialects.events import Clear, Event, Mark
from service.dialects.half import Half
from service.ending import FAULT, Ending
from service.tally import Tally

_log = logs.get(__name__)

#: How much audio may wait to be played, in seconds.
PLAY_SECONDS = 5.0
#: How many bytes may wait for a caller that does not read, before messages wait too.
UNWRITTEN_BYTES = 65536
#: A mark that the caller should have heard so many seconds ago counts as heard, though the caller
#: never said so.
PATIENCE_SECONDS = 5.0
#: How the names of marks begin that the handler does not see.
HEARD = "heard-"


class Speech:
    """One call's way out. Audio is PCM16, mono, little-endian, at the caller's reply rate.

    `heard` is called with the handler's marks once they were heard.
    """

    def __init__(
        self,
        terms: Terms,
        half: Half,
        tally: Tally,
        clock: Clock,
        heard: Callable[[Mark], None],
        end: Callable[[Ending], None],
    ) -> None:
        self.mouth: Mouth | None = None
        self.ended = False  # the caller hears nothing more
        self.open = True  # the caller has room for audio
        self._half, self._tally, self._clock = half, tally, clock
        self._queue_seconds = tally.queue_seconds["outbound"]
        self._tell_heard, self._end = heard, end
        sample_bytes = BYTES_PER_SAMPLE[terms.reply]
        self._rate = terms.reply_rate * sample_bytes
        self._shrink = BYTES_PER_SAMPLE["pcm16"] // sample_bytes  # of PCM, when it is encoded
        self._playout = Playout(
            self._rate,
            sample_bytes,
            terms.lead,
            frame_seconds=terms.frame_seconds or FRAME_SECONDS,
            silence=SILENCE[terms.reply] if terms.frame_seconds else b"",
            places=terms.places and half.marks,
        )
        self._encoding: tuple[Conversion, ...] = ()
        if terms.reply != "pcm16":
            encode = codec.tier(terms.codec, terms.reply).encode
            self._encoding = ((encode, tally.encode_seconds[terms.codec, terms.reply]),)
        self._unheard: deque[str] = deque()  # the names of marks that were not heard yet
        self._underruns = 0
        self._cleared_at: float | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._unread = False  # the caller's words are not read, so it cannot say what it has heard

    # The handler's side.

    @property
    def waiting(self) -> float:
        """How many seconds of audio wait to be played."""
        return self._playout.waiting

    @property
    def full(self) -> bool:
        """Whether so much waits to be played that more should wait itself."""
        return self._playout.waiting > PLAY_SECONDS and not self.ended

    @property
    def silent(self) -> bool:
        """Whether nothing is left to be heard, by the clock."""
        return self.ended or self._playout.silent(trio.current_time())

    @property
    def all_heard(self) -> bool:
        """Whether nothing is left to be heard, and the caller has said so of each mark."""
        return self.silent and not self._unheard

    @property
    def position(self) -> float:
        """How many seconds of audio the caller has heard."""
        return self._playout.position(trio.current_time())

    async def written(self) -> None:
        """Return when few bytes wait for the caller to read, or the conversation is over."""
        while not self.ended and self.mouth and self.mouth.unwritten > UNWRITTEN_BYTES:
            await self.changed()

    async def changed(self) -> None:
        """Return when audio was played, marks were heard, or the conversation is over."""
        self._ask_clock(trio.current_time() + FRAME_SECONDS)
        await self._changed.park()

    def play(self, pcm: bytes) -> None:
        """Have audio heard behind all that waits."""
        if not pcm or self.pass_on(pcm):
            return
        now, playout = trio.current_time(), self._playout
        playout.play(converted(pcm, self._encoding), now)
        if playout.underruns != self._underruns:
            self._tally.underruns += playout.underruns - self._underruns
            self._underruns = playout.underruns
        self._queue_seconds.add(playout.waiting)
        # What is due goes out at once; the clock is for the rest.
        self._speak(now)

    def pass_on(self, pcm: bytes) -> bool:
        """Return whether audio could be sent at once, as a frame that is due; else do nothing."""
        mouth = self.mouth
        if mouth is None or mouth.unwritten or not self.open or self._cleared_at is not None:
            return False
        if not self._playout.pass_on(len(pcm) // self._shrink, trio.current_time()):
            return False
        self._queue_seconds.add(0)
        self._say_audio(mouth, converted(pcm, self._encoding))
        return True

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits to be played."""
        self._unheard.append(name)
        self._playout.mark(name)
        self._ask_clock(trio.current_time())

    def unheard(self, name: str) -> bool:
        """Return whether a mark waits to be heard."""
        return name in self._unheard and not self.ended

    def clear(self) -> float:
        """Stop the playing; return the seconds heard of what was played since the last silence."""
        now, recalled = trio.current_time(), self._half.clears
        cut = recalled or self._playout.waiting > 0
        heard = self._playout.clear(now, recalled=recalled)
        self._unheard.clear()
        if cut:  # else it has been silent on the wire already
            self._cleared_at = perf_counter()
        if recalled:
            self.say(Clear())
        self._speak(now)
        self._changed.unpark_all()
        return heard

    def say(self, event: Event) -> bool:
        """Send an event; return whether the caller's dialect has a word for it."""
        if self.mouth is None or self.ended:
            return False
        messages = self._half.say(event)
        for message in messages:
            self.mouth.say(message)
        return bool(messages)

    # The caller's side.

    def hear_mark(self, name: str) -> None:
        """Take the caller's word for it: a mark was heard."""
        if self._playout.told(name, trio.current_time()):
            self._mark_heard(name)

    def recalled(self, seconds: float) -> None:
        """Take the caller's word for how much was heard before its answer to a clear."""
        self._playout.recalled(seconds)

    def read(self, read: bool) -> None:
        """Take note whether the caller's words are read from now on."""
        self._unread = not read
        self._hear_reached(trio.current_time())

    def over(self) -> None:
        """Take note that the conversation is over; whoever waits is told."""
        self.ended = True
        # They know this conversation: cycles, which only the garbage collector would free.
        self.mouth, self._tell_heard, self._end = None, _nobody, _nobody
        self._clock.forget(self._speak)
        self._changed.unpark_all()

    # The clock's side.

    def _ask_clock(self, when: float) -> None:
        if not self.ended:
            self._clock.ask(self._speak, when)

    def _speak(self, now: float) -> None:
        """Send what is due, and have the clock ask again while there is more to do."""
        try:
            due = self._send_due(now)
        except Exception:
            _log.exception("call_failed")
            self._end(FAULT)
            return
        if due is not None:
            self._ask_clock(due)
        elif self._playout.pending or self._changed or self._cleared_at is not None:
            self._ask_clock(now + FRAME_SECONDS)

    def _send_due(self, now: float) -> float | None:
        """Send the audio and the marks that are due; return when the next audio is, if any is."""
        mouth, playout, tally = self.mouth, self._playout, self._tally
        if mouth is None or self.ended or mouth.unwritten:
            return None
        if self._cleared_at is not None:
            tally.clear_seconds.add(perf_counter() - self._cleared_at)
            self._cleared_at = None
        for item in playout.due(now) if self.open else ():
            if isinstance(item, bytes):
                self._say_audio(mouth, item)
            else:
                self.say(Mark(item))
        self._hear_reached(now)
        if self._changed and not self.full:
            self._changed.unpark_all()
        return playout.next_due(now) if self.open else None

    def _say_audio(self, mouth: Mouth, audio: bytes) -> None:
        mouth.say(self._half.audio(audio))
        self._tally.spoken_frames += 1
        self._tally.outbound_seconds += len(audio) / self._rate

    def _hear_reached(self, now: float) -> None:
        """Have marks heard that the caller should have heard by now.

        The clock is believed where the caller does not say it. Its dialect may have no word for
        it, or its words are not read: a handler that waits for a mark does not listen, so its
        caller's audio soon fills the inbox.
        """
        says_it = self._half.marks and not self._unread
        self._playout.patience = PATIENCE_SECONDS if says_it else 0.0
        for name in self._playout.reached(now):
            self._mark_heard(name)

    def _mark_heard(self, name: str) -> None:
        if name not in self._unheard:  # one of the playout's own
            return
        self._unheard.remove(name)
        if not name.startswith(HEARD):
            self._tell_heard(Mark(name))
        self._changed.unpark_all()


def _nobody(event: object) -> None:
    """Stand for whoever was told before the end."""
