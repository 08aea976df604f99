"""The echo of a call in a provider's dialect: audio goes back as it comes."""

from collections import deque
from collections.abc import Generator

from service.calls.dialogue import Dialogue, Result
from service.calls.session import session_for
from service.calls.terms import Terms
from service.conversation import Message, Work
from service.dialects.events import Event
from service.ending import Ending


class Telephone(Dialogue):
    """Answers each message with audio by the same audio, in the provider's dialect."""

    def begin_with(self, terms: Terms) -> None:
        self._echoed: deque[bytes] = deque()  # the audio of replies that are not written yet
        self.ear = session_for(terms)(terms, self._tally, self._max_frame_bytes)

    def hear_audio(self, audio: bytes) -> Result:
        assert self.ear is not None, "a dialect gives no audio before its start"
        reply = self.ear.receive(audio)
        if type(reply) is bytes:
            if not reply:
                self.ear.unanswered()
                return None
            self._echoed.append(audio)
            return self.half.audio(reply)
        return reply if isinstance(reply, Ending) else self._in_pieces(audio, reply)  # type: ignore[arg-type]

    def hear_event(self, event: Event) -> None:
        """Do nothing: an echo has no use for keys or marks."""

    def replied(self, message: Message, seconds: float) -> None:
        """Count the reply as the ear does: by its audio."""
        assert self.ear is not None
        self.ear.replied(self._echoed.popleft(), seconds)

    def _in_pieces(self, audio: bytes, work: Work) -> Generator[None, None, Message | None]:
        reply = yield from work
        assert isinstance(reply, bytes)
        self._echoed.append(audio)
        return self.half.audio(reply)
