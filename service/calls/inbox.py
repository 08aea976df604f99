"""What waits for a handler: audio and events, in the order in which they came.

At most HEAR_SECONDS of audio wait, in at most FRAMES frames, and EVENTS events of CHARACTERS
together. When more has come:

- While the handler listens, its caller is not read. Nothing is lost.
- A caller that is `live` cannot wait. For it, and while the handler does not listen at all, the
  oldest audio is dropped, and counted. Of the events the newest is dropped.
"""

from collections import deque

from service.dialects.events import Digits, Event, Message
from service.tally import Tally

HEAR_SECONDS = 2.0
#: 2 s in frames of 2 ms. A frame takes memory for 50 bytes besides its samples, however short.
FRAMES = 1000
EVENTS = 64
#: As many as one text message may have. What it says may take 25 times as many bytes.
CHARACTERS = 65536


class Inbox:
    """One call's inbox: `items`. Audio is PCM16 of so many `bytes_per_second`."""

    def __init__(self, bytes_per_second: int, tally: Tally, *, live: bool) -> None:
        self._bytes_per_second, self._tally, self._live = bytes_per_second, tally, live
        self.items: deque[bytes | Event] = deque()
        self._audio_bytes = self._events = self._characters = 0
        self.listening = False

    @property
    def seconds(self) -> float:
        """How much audio waits."""
        return self._audio_bytes / self._bytes_per_second

    @property
    def full(self) -> bool:
        """Whether more has come than may wait."""
        return self._more_than(1)

    @property
    def half_empty(self) -> bool:
        """Whether there is room again for a caller that was not read."""
        return not self._more_than(0.5)

    def keep(self, item: bytes | Event) -> None:
        """Take audio or an event; make room if nobody listens, or if the caller cannot wait."""
        self.items.append(item)
        self._count(item, 1)
        if self.full and (self._live or not self.listening):
            if isinstance(item, bytes):
                self._drop_oldest_audio()
            else:
                self._count(self.items.pop(), -1)

    def take(self) -> bytes | Event:
        """Return what came first."""
        item = self.items.popleft()
        self._count(item, -1)
        return item

    def _more_than(self, share: float) -> bool:
        return (
            self.seconds > HEAR_SECONDS * share
            or self._events > EVENTS * share
            or self._characters > CHARACTERS * share
            or len(self.items) - self._events > FRAMES * share
        )

    def _drop_oldest_audio(self) -> None:
        events = []
        while self.full and self.items:
            item = self.take()
            if isinstance(item, bytes):
                self._tally.frames_dropped["live" if self._live else "unheard"] += 1
            else:
                events.append(item)
        for event in reversed(events):
            self.items.appendleft(event)
            self._count(event, 1)

    def _count(self, item: bytes | Event, number: int) -> None:
        if isinstance(item, bytes):
            self._audio_bytes += number * len(item)
        else:
            self._events += number
            self._characters += number * _characters(item)


def _characters(event: Event) -> int:
    match event:
        case Message():
            return event.characters
        case Digits(digits):
            return len(digits)
    return 0
