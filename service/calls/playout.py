"""Audio and marks that wait to be heard, paced in real time; `now` is an argument, in seconds.

A caller gets frames of 20 ms as the clock goes, `lead` seconds ahead of it. The clock also tells
what was heard: what was sent, but no more than the time since the playing began.

Positions are bytes of the caller's encoding since the begin of the call, without what was cut.
"""

from collections import deque

#: A frame, in seconds.
FRAME_SECONDS = 0.02
#: After a stall at most so many seconds are made up for; the rest of the audio is later by them.
_CATCH_UP_SECONDS = 0.2
#: A shorter pause between two pieces of audio is an underrun, unless a mark ended the first one.
_GAP_SECONDS = 0.5


class Playout:
    """What one caller is to hear.

    `rate` is the bytes a second of the caller's encoding, `sample_bytes` the size of its samples.
    `underruns` counts the gaps that the caller heard because audio came too late.
    """

    def __init__(self, rate: int, sample_bytes: int, lead: float) -> None:
        self._rate, self._lead = rate, lead
        self._frame_bytes = int(rate // sample_bytes * FRAME_SECONDS) * sample_bytes or sample_bytes
        self._waiting = bytearray()
        self._sent = 0  # up to this position audio was sent
        self._marks: deque[tuple[int, str]] = deque()  # not sent yet,
        self._marks_sent: deque[tuple[int, str]] = deque()  # and sent, not heard yet
        self._last_mark = 0
        self._recallable: int | None = None  # what was sent before a clear
        self._began: float | None = None  # when the audio from `_base` on began to be heard
        self._base = 0
        self._dry_at = float("-inf")  # when audio was missing
        self.underruns = 0

    @property
    def waiting(self) -> float:
        """How many seconds of audio wait to be sent."""
        return len(self._waiting) / self._rate

    @property
    def silent(self) -> bool:
        """Whether everything was sent and heard."""
        return self._began is None and not self._waiting and not self._marks

    def position(self, now: float) -> float:
        """Return how many seconds of audio were heard since the call began."""
        return self._heard(now) / self._rate

    def play(self, audio: bytes, now: float) -> None:
        """Have audio heard behind all that waits."""
        self._look_at_the_end(now)
        if audio and self._began is None and not self._waiting:
            self.underruns += now - self._dry_at < _GAP_SECONDS
        self._waiting += audio

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits."""
        self._last_mark = self._sent + len(self._waiting)
        self._marks.append((self._last_mark, name))

    def due(self, now: float) -> list[bytes | str]:
        """Return what to send now, in order: frames, and the names of marks behind them."""
        items: list[bytes | str] = []
        if self._waiting:
            if self._began is None:
                self._began, self._base = now, self._sent
            ahead = (self._sent - self._base) / self._rate - (now - self._began)
            if ahead < -_CATCH_UP_SECONDS:
                self._began -= ahead + _CATCH_UP_SECONDS
                ahead = -_CATCH_UP_SECONDS
            # Half a frame of tolerance, for a clock that is a little early or late.
            while ahead <= self._lead + FRAME_SECONDS / 2 and self._waiting:
                frame = bytes(self._waiting[: self._frame_bytes])
                del self._waiting[: self._frame_bytes]
                self._sent += len(frame)
                ahead += len(frame) / self._rate
                items.append(frame)
                self._send_marks(items)
        self._send_marks(items)
        self._look_at_the_end(now)
        return items

    def reached(self, now: float) -> list[str]:
        """Return the names of the marks that were heard since the last time, by the clock."""
        heard, names = self._heard(now), []
        while self._marks_sent and self._marks_sent[0][0] <= heard:
            names.append(self._marks_sent.popleft()[1])
        return names

    def clear(self, now: float, *, recalled: bool) -> float:
        """Drop what waits; return the seconds heard of what was played since the last silence.

        If `recalled`, the caller drops what it has not heard. Else it hears all that was sent.
        """
        self._look_at_the_end(now)
        self._waiting.clear()
        self._marks.clear()
        self._marks_sent.clear()
        if self._began is None:
            return 0.0
        if recalled:
            self._recallable = self._sent
            self._sent = self._heard(now)
            self._began = None
        self._last_mark = self._sent  # the silence that follows is no underrun
        return (self._sent - self._base) / self._rate

    def recalled(self, seconds: float) -> None:
        """Take the caller's word for it: so many seconds of the call's audio were heard."""
        if self._began is None and not self._waiting and self._recallable is not None:
            self._sent = round(min(max(seconds * self._rate, self._base), self._recallable))
            self._last_mark = self._sent
            self._recallable = None

    def _heard(self, now: float) -> int:
        if self._began is None:
            return self._sent
        return min(self._sent, self._base + int((now - self._began) * self._rate))

    def _send_marks(self, items: list[bytes | str]) -> None:
        while self._marks and self._marks[0][0] <= self._sent:
            self._marks_sent.append(self._marks.popleft())
            items.append(self._marks_sent[-1][1])

    def _look_at_the_end(self, now: float) -> None:
        """Take note if the caller has heard everything, and nothing more was there in time."""
        if self._began is not None and not self._waiting and self._heard(now) == self._sent:
            if self._last_mark != self._sent:
                self._dry_at = self._began + (self._sent - self._base) / self._rate
            self._began = None
