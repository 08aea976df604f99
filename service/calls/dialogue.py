"""A conversation in a dialect: audio and events come out of its messages, and faults are counted.

Before its peer has begun, a dialogue has no terms. After that its `ear` hears the audio.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import trio

from service.calls.session import Session
from service.calls.slips import Slips
from service.calls.terms import Terms
from service.conversation import Message, Mouth, Work
from service.dialects.events import Alive, BadMessage, Event, Fault, Lost, Slip, Start, Stop
from service.dialects.half import Half
from service.ending import FINISHED, POLICY_VIOLATION, Ending, rejected, too_large
from service.tally import Tally

#: How long a peer may take to begin, in seconds.
START_SECONDS = 10.0

#: The most characters of a text message.
TEXT_CHARACTERS = 65536

#: What a message brings: a reply, an ending, long work in pieces, or nothing.
Result = Message | Ending | Work | None


class Dialogue(ABC):
    """One dialogue. `greeting`, if set, is the first message.

    `slips` notes what is wrong with the peer's messages. `agree` returns the terms for a start.
    """

    greeting: Message | None = None

    def __init__(
        self,
        half: Half,
        slips: Slips,
        agree: Callable[[Start], Terms],
        tally: Tally,
        max_frame_bytes: int,
    ) -> None:
        self.half = half
        self.ear: Session | None = None
        self.started = trio.Event()
        self.mouth: Mouth | None = None
        self._slips, self._agree = slips, agree
        self._tally, self._max_frame_bytes = tally, max_frame_bytes

    @abstractmethod
    def begin_with(self, terms: Terms) -> None:
        """Take the terms, and make the ear."""

    @abstractmethod
    def hear_audio(self, audio: bytes) -> Result:
        """Hear audio of the caller's encoding."""

    @abstractmethod
    def hear_event(self, event: Event) -> None:
        """Hear an event."""

    def begin(self, mouth: Mouth) -> None:
        """Take the mouth, and greet the caller."""
        self.mouth = mouth
        if self.greeting is not None:
            mouth.say(self.greeting)

    def receive(self, message: Message) -> Result:
        """Hear a message; return its reply, the ending that it brings, or long work in pieces."""
        if type(message) is str and len(message) > TEXT_CHARACTERS:
            return too_large(TEXT_CHARACTERS)
        try:
            heard = self.half.hear(message)
            if type(heard) is bytes:
                return self.hear_audio(heard)
            assert isinstance(heard, tuple)
            result = None
            for item in heard:
                result = self._hear(item) or result
                if isinstance(result, Ending):
                    break
        except BadMessage as bad:
            return self._note(bad, message)
        return result

    @abstractmethod
    def replied(self, message: Message, seconds: float) -> None:
        """Take note of a reply, as a `Conversation` does."""

    def over(self) -> None:
        """Take note that the conversation is over."""
        # Both know this conversation: cycles, which only the garbage collector would free.
        self.mouth, self._agree = None, _nothing_more

    def _hear(self, item: bytes | Event) -> Result:
        if isinstance(item, bytes):
            return self.hear_audio(item)
        match item:
            case Start():
                self.begin_with(self._agree(item))
                self.started.set()
            case Stop():
                return FINISHED
            case Fault(text):
                self._slips.note(Slip.PEER, text)
            case Lost():
                self._slips.note(Slip.LOST, "audio never came, or came too late")
            case _:
                self.hear_event(item)
        return None

    def _note(self, bad: BadMessage, message: Message) -> Ending | None:
        self._slips.note(bad.slip, str(bad))
        if bad.code is None:
            return None
        return rejected("text" if isinstance(message, str) else "binary", bad.code, str(bad))

    async def begun(self) -> None:
        """Return once the peer has begun. The call of a peer that does not is ended."""
        with trio.move_on_after(START_SECONDS):
            await self.started.wait()
            return
        reason = f"the stream did not begin within {START_SECONDS:g} seconds"
        self._slips.note(Slip.NO_START, reason)
        if self.mouth is not None:
            self.mouth.end(rejected("text", POLICY_VIOLATION, reason))
        await trio.sleep_forever()

    async def keep_alive(self, seconds: float) -> None:
        """Tell the peer again and again, after so many seconds, to show that it is there."""
        while seconds:
            await trio.sleep(seconds)
            if self.mouth is None:
                return
            for message in self.half.say(Alive()):
                self.mouth.say(message)


def _nothing_more(start: Start) -> Terms:
    raise BadMessage(Slip.SECOND_START, "the call is over")
