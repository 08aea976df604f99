"""The conversation of a call that has a handler: events in, audio and events out at any time.

The link and the clock call it from one side, the handler's `Call` from the other.
"""

from dataclasses import replace
from typing import Any

from service.calls.clock import Clock
from service.calls.dialogue import Dialogue
from service.calls.hearing import Hearing
from service.calls.session import Session
from service.calls.speech import Speech
from service.calls.terms import Terms
from service.conversation import Message, Mouth, Work
from service.dialects.events import Cleared, Event, Flow, Mark, Stop
from service.ending import Ending


class Duplex(Dialogue):
    """Both directions of one call. Once it has terms, it has `hearing` and `speech`."""

    hearing: Hearing
    speech: Speech

    def __init__(self, *parts: Any, clock: Clock) -> None:
        super().__init__(*parts)
        self._clock = clock

    def begin_with(self, terms: Terms) -> None:
        to_pcm = replace(terms, reply="pcm16", reply_rate=terms.sample_rate)
        self.ear = Session(to_pcm, self._tally, self._max_frame_bytes)
        self.hearing = Hearing(terms, self._tally, self._hold)
        self.speech = Speech(
            terms, self.half, self._tally, self._clock, self.hearing.keep, self.end
        )
        self.speech.mouth = self.mouth

    # The link's side.

    def begin(self, mouth: Mouth) -> None:
        super().begin(mouth)
        if self.ear is not None:
            self.speech.mouth = mouth

    def replied(self, message: Message, seconds: float) -> None:
        """Count nothing: no message has a reply."""

    def hear_audio(self, audio: bytes) -> Ending | Work | None:
        assert self.ear is not None, "a dialect gives no audio before its start"
        heard = self.ear.receive(audio)
        if type(heard) is bytes:
            self.hearing.take(heard)
            return None
        return heard if isinstance(heard, Ending) else self._hear_in_pieces(heard)  # type: ignore[arg-type]

    def hear_event(self, event: Event) -> None:
        match event:
            case Mark(name):
                self.speech.hear_mark(name)
            case Cleared(seconds):
                if seconds is not None:
                    self.speech.recalled(seconds)
            case Flow(is_open):
                self.speech.open = is_open
            case _:
                self.hearing.keep(event)

    def over(self) -> None:
        """Take note that the conversation is over; whoever waits is told."""
        super().over()
        if self.ear is not None:
            self.hearing.over()
            self.speech.over()

    # The handler's side.

    def end(self, ending: Ending) -> None:
        """Hang up once what was said is written; nothing more is said."""
        if self.mouth is not None:
            for message in self.half.say(Stop()) if self.ear is not None else ():
                self.mouth.say(message)
            self.mouth.end(ending)
        self.over()

    def _hear_in_pieces(self, work: Work) -> Work:
        pcm = yield from work
        assert isinstance(pcm, bytes)
        self.hearing.take(pcm)
        return None

    def _hold(self, held: bool) -> None:
        if self.mouth is not None:
            self.mouth.hold(held)
            self.speech.read(not held)
