"""Audio and marks that wait to be heard, paced in real time; `now` is an argument, in seconds.

A caller gets frames as the clock goes, `lead` seconds ahead of it. The clock also tells what was
heard: what was sent, but no more than the time since the playing began. The word of a caller that
says when it has heard a mark moves this clock.

Positions are bytes of the caller's encoding that were sent since the begin of the call.
"""

from collections import deque
from math import inf
from typing import NamedTuple

#: A frame, in seconds.
FRAME_SECONDS = 0.02
#: What the sums of floats may be wrong by, and more.
_ROUNDING_SECONDS = 1e-4
#: After a stall at most so many seconds are made up for; the rest of the audio is later by them.
_CATCH_UP_SECONDS = 0.2
#: A pause between these two is an underrun, unless a mark or a clear ended the audio before it. A
#: shorter one is the jitter of audio that comes in real time; a longer one is meant.
_JITTER_SECONDS, _GAP_SECONDS = FRAME_SECONDS, 0.5
#: A caller hears so much later than our clock says, at most.
_MOST_LAG_SECONDS = 5.0
#: Where `places` are marked: so many seconds after a sentence has begun, and then every second.
_FIRST_PLACE_SECONDS, _PLACE_SECONDS = 0.2, 1.0
#: How the names of these marks begin.
PLACE = "heard-at-"


class _Sent(NamedTuple):
    """A mark that was sent: its place, its name, and when it is heard by our clock alone."""

    place: int
    name: str
    due: float


class Playout:
    """What one caller is to hear.

    `rate` is the bytes a second of the caller's encoding, `sample_bytes` the size of its samples.
    With `silence`, a sample of it, each frame is filled up to its `frame_seconds`. With `places`,
    marks are set that nobody asked for, so that the caller says how far it has heard.

    A mark counts as heard when the caller says so, or `patience` seconds after the clock says so.
    `underruns` counts the gaps that the caller heard because audio came too late.
    """

    def __init__(
        self,
        rate: int,
        sample_bytes: int,
        lead: float,
        *,
        frame_seconds: float = FRAME_SECONDS,
        silence: bytes = b"",
        places: bool = False,
        patience: float = 0.0,
    ) -> None:
        self._rate, self._lead = rate, lead
        self._frame_seconds = frame_seconds
        self._frame_bytes = int(rate // sample_bytes * frame_seconds) * sample_bytes or sample_bytes
        self._silence, self._places = silence, places
        self.patience = patience
        self._waiting = bytearray()
        self._played_at = 0.0  # when the last of what waits came
        self._sent = 0  # up to this position audio was sent
        self._marks: deque[tuple[int, str]] = deque()  # not sent yet,
        self._marks_sent: deque[_Sent] = deque()  # and sent, not heard yet
        self._next_place = inf
        self._last_end = 0  # up to this position a mark or a clear ended the audio
        self._cut = 0  # so many of the bytes sent were never heard, or nobody played them
        self._sent_before_clear = 0
        self._unanswered = 0  # clears that the caller has not answered
        self._began = 0.0  # when the audio from `_base` on began to be heard, by our clock
        self._base = 0
        self._lag = 0.0  # by the caller's word it hears so much later than our clock says
        self._runs = False  # our clock has audio to go on with
        self._ended_at = float("-inf")  # when it had none any more
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
        return not self._waiting and not self._marks and self._heard(now) == self._sent

    def position(self, now: float) -> float:
        """Return how many seconds of audio were heard since the call began."""
        return (self._said(now) - self._cut) / self._rate

    def play(self, audio: bytes, now: float) -> None:
        """Have audio heard behind all that waits."""
        self._look_at_the_end(now)
        if audio and not self._runs and not self._waiting:
            pause = now - self._ended_at
            if self._last_end != self._sent and _JITTER_SECONDS < pause < _GAP_SECONDS:
                self.underruns += 1
        self._waiting += audio
        self._played_at = now

    def pass_on(self, size: int, now: float) -> bool:
        """Return whether audio of this size is a frame that is due at once; then it counts as sent.

        It spares `play` and `due` for audio that comes in real time. False means nothing was done.
        """
        if self._waiting or self._marks or size != self._frame_bytes:
            return False
        sent = self._sent + size
        # Where our clock has nothing to go on with, this is zero or less.
        ahead = (self._sent - self._base) / self._rate - (now - self._began)
        if not _ROUNDING_SECONDS < ahead <= self._lead or sent >= self._next_place:
            return False
        self._sent = sent
        return True

    def mark(self, name: str) -> None:
        """Set a mark behind all that waits."""
        self._last_end = self._sent + len(self._waiting)
        self._marks.append((self._last_end, name))

    def due(self, now: float) -> list[bytes | str]:
        """Return what to send now, in order: frames, and the names of marks behind them."""
        items: list[bytes | str] = []
        self._send_marks(items, now)
        if self._waiting and not self._waits_for_more(now):
            if not self._runs:
                self._runs, self._began, self._base = True, now, self._sent
                if self._places:
                    self._next_place = self._sent + int(_FIRST_PLACE_SECONDS * self._rate)
            ahead = (self._sent - self._base) / self._rate - (now - self._began)
            if ahead < -_CATCH_UP_SECONDS:
                self._began -= ahead + _CATCH_UP_SECONDS
                ahead = -_CATCH_UP_SECONDS
            while ahead <= self._lead + _ROUNDING_SECONDS and self._waiting:
                if self._waits_for_more(now):
                    break
                frame = self._frame()
                ahead += len(frame) / self._rate
                items.append(frame)
                self._send_marks(items, now)
        self._look_at_the_end(now)
        return items

    def next_due(self, now: float) -> float | None:
        """Return when the next frame is due; None if none waits."""
        if not self._waiting:
            return None
        if self._waits_for_more(now):
            return self._played_at + self._frame_seconds
        if not self._runs:
            return now
        return self._began + (self._sent - self._base) / self._rate - self._lead

    def reached(self, now: float) -> list[str]:
        """Return the names of the marks that count as heard since the last time, by the clock."""
        names: list[str] = []
        sent = self._marks_sent
        if not sent:
            return names
        heard = self._heard(now)
        while sent and sent[0].place <= heard and sent[0].due + self.patience <= now:
            names.append(sent.popleft().name)
        return names

    def told(self, name: str, now: float) -> bool:
        """Take the caller's word for it that a mark was heard; return whether it was sent."""
        mark = next((mark for mark in self._marks_sent if mark.name == name), None)
        if mark is None:
            return False
        self._marks_sent.remove(mark)
        if mark.place >= self._base:
            # It may be ahead of our clock, but only of audio that it has.
            self._lag = min(max(now - mark.due, -self._lead), _MOST_LAG_SECONDS)
        return True

    def clear(self, now: float, *, recalled: bool) -> float:
        """Drop what waits; return the seconds heard of what was played since the last silence.

        If `recalled`, the caller drops what it has not heard. Else it hears all that was sent.
        """
        self._look_at_the_end(now)
        self._waiting.clear()
        self._marks.clear()
        played = 0
        if self._runs or self._heard(now) < self._sent:
            heard = self._said(now) if recalled else self._sent
            played = heard - self._base
            if recalled:
                self._cut += self._sent - heard
                self._runs, self._base = False, self._sent
        self._marks_sent.clear()
        self._unanswered += recalled
        self._sent_before_clear = self._last_end = self._sent
        return max(played, 0) / self._rate

    def recalled(self, seconds: float) -> None:
        """Take the caller's word for it: so many seconds were heard from the begin to the clear.

        Each clear that is `recalled` has one answer; only that to the last one counts.
        """
        if self._unanswered == 1:
            sent = self._sent_before_clear
            self._cut = sent - round(min(max(seconds * self._rate, 0), sent))
        self._unanswered = max(self._unanswered - 1, 0)

    def _heard(self, now: float) -> int:
        """Return the position that the caller has heard, by our clock and its lag."""
        heard = self._base + int((now - self._began - self._lag) * self._rate)
        return min(self._sent, max(heard, self._base))

    def _said(self, now: float) -> int:
        """Return the position that the caller has heard, no further than its own word allows."""
        heard = self._heard(now)
        if self.patience and self._marks_sent:
            return max(min(heard, self._marks_sent[0].place), self._base)
        return heard

    def _waits_for_more(self, now: float) -> bool:
        """Return whether a part of a frame should wait a little for the rest."""
        if not self._silence:
            return False
        size = len(self._waiting)
        return (
            size < self._frame_bytes
            and self._last_end != self._sent + size
            and now - self._played_at < self._frame_seconds - _ROUNDING_SECONDS
        )

    def _frame(self) -> bytes:
        """Take the next frame from what waits."""
        frame = bytes(self._waiting[: self._frame_bytes])
        del self._waiting[: self._frame_bytes]
        if self._silence and len(frame) < self._frame_bytes:
            whole = frame.ljust(self._frame_bytes, self._silence)
            self._cut += len(whole) - len(frame)
            frame = whole
        self._sent += len(frame)
        return frame

    def _send_marks(self, items: list[bytes | str], now: float) -> None:
        while self._marks and self._marks[0][0] <= self._sent:
            place, name = self._marks.popleft()
            self._send_mark(place, name, items, now)
        if self._runs and self._sent >= self._next_place:
            self._next_place = self._sent + int(_PLACE_SECONDS * self._rate)
            self._send_mark(self._sent, f"{PLACE}{self._sent}", items, now)

    def _send_mark(self, place: int, name: str, items: list[bytes | str], now: float) -> None:
        due = self._began + (place - self._base) / self._rate if self._runs else now
        self._marks_sent.append(_Sent(place, name, max(due, now)))
        items.append(name)

    def _look_at_the_end(self, now: float) -> None:
        """Take note if our clock has gone through everything."""
        if self._runs and not self._waiting:
            ended_at = self._began + (self._sent - self._base) / self._rate
            if now >= ended_at - 1e-9:
                self._ended_at, self._runs = ended_at, False
