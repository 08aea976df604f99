"""Audio and marks that wait to be heard, paced in real time; `now` is an argument, in seconds.

A caller gets frames of 20 ms as the clock goes, `lead` seconds ahead of it. The clock also tells
what was heard: what was sent, but no more than the time since the playing began.

Positions are bytes of the caller's encoding that were sent since the begin of the call.
"""

from collections import deque

#: A frame, in seconds.
FRAME_SECONDS = 0.02
#: After a stall at most so many seconds are made up for; the rest of the audio is later by them.
_CATCH_UP_SECONDS = 0.2
#: A pause between these two is an underrun, unless a mark or a clear ended the audio before it. A
#: shorter one is the jitter of audio that comes in real time; a longer one is meant.
_JITTER_SECONDS, _GAP_SECONDS = FRAME_SECONDS, 0.5


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
        self._last_end = 0  # up to this position a mark or a clear ended the audio
        self._cut = 0  # so many of the bytes sent were never heard
        self._sent_before_clear = 0
        self._unanswered = 0  # clears that the caller has not answered
        self._began: float | None = None  # when the audio from `_base` on began to be heard
        self._base = 0
        self._ended_at = float("-inf")  # when all was heard
        self.underruns = 0

    @property
    def waiting(self) -> float:
        """How many seconds of audio wait to be sent."""
        return len(self._waiting) / self._rate

    @property
    def pending(self) -> bool:
        """Whether something is to be sent, or a mark to be heard."""
        return bool(self._waiting or self._marks or self._marks_sent)

    def silent(self, now: float) -> bool:
        """Return whether everything was sent and heard."""
        self._look_at_the_end(now)
        return self._began is None and not self._waiting and not self._marks

    def position(self, now: float) -> float:
        """Return how many seconds of audio were heard since the call began."""
        return (self._heard(now) - self._cut) / self._rate

    def play(self, audio: bytes, now: float) -> None:
        """Have audio heard behind all that waits."""
        self._look_at_the_end(now)
        if audio and self._began is None and not self._waiting:
            pause = now - self._ended_at
            if self._last_end != self._sent and _JITTER_SECONDS < pause < _GAP_SECONDS:
                self.underruns += 1
        self._waiting += audio

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits."""
        self._last_end = self._sent + len(self._waiting)
        self._marks.append((self._last_end, name))

    def due(self, now: float) -> list[bytes | str]:
        """Return what to send now, in order: frames, and the names of marks behind them."""
        items: list[bytes | str] = []
        self._send_marks(items)
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
        played = 0
        if self._began is not None:
            heard = self._heard(now) if recalled else self._sent
            played = heard - self._base
            if recalled:
                self._cut += self._sent - heard
                self._began = None
        self._unanswered += recalled
        self._sent_before_clear = self._last_end = self._sent
        return played / self._rate

    def recalled(self, seconds: float) -> None:
        """Take the caller's word for it: so many seconds were heard from the begin to the clear.

        Each clear that is `recalled` has one answer; only that to the last one counts.
        """
        if self._unanswered == 1:
            sent = self._sent_before_clear
            self._cut = sent - round(min(max(seconds * self._rate, 0), sent))
        self._unanswered = max(self._unanswered - 1, 0)

    def _heard(self, now: float) -> int:
        if self._began is None:
            return self._sent
        return min(self._sent, self._base + int((now - self._began) * self._rate))

    def _send_marks(self, items: list[bytes | str]) -> None:
        while self._marks and self._marks[0][0] <= self._sent:
            self._marks_sent.append(self._marks.popleft())
            items.append(self._marks_sent[-1][1])

    def _look_at_the_end(self, now: float) -> None:
        """Take note if the caller has heard everything."""
        if self._began is not None and not self._waiting and self._heard(now) == self._sent:
            self._ended_at = self._began + (self._sent - self._base) / self._rate
            self._began = None
