"""Audio played by a clock: what came, what of it was cleared, and until when it plays."""

from array import array

from service.audio.encodings import BYTES_PER_SAMPLE
from service.codec import choose
from service.dialects.events import Format

#: Whose samples are all below this (of 32768) is silent: -50 dB, and A-law has no zero.
_QUIET = 100


class Player:
    """What comes, played by a clock; `now` is an argument, in seconds."""

    def __init__(self, played: Format) -> None:
        self._sample_bytes = BYTES_PER_SAMPLE[played.encoding]
        self._rate = played.rate * self._sample_bytes
        self.audio = bytearray()  # all that came, without what was cleared
        self.cleared_bytes = 0
        self.until = float("-inf")  # when all of it is played,
        self.sound_until = float("-inf")  # and when what comes then is silent
        self._decode = None if played.encoding == "pcm16" else choose(law=played.encoding).decode

    def play(self, audio: bytes, now: float) -> None:
        """Have audio played behind all that waits."""
        self.until = max(self.until, now) + len(audio) / self._rate
        self.audio += audio
        if not self._silent(audio):
            self.sound_until = self.until

    def _silent(self, audio: bytes) -> bool:
        pcm = array("h", audio if self._decode is None else self._decode(audio))
        return not pcm or (max(pcm) < _QUIET and min(pcm) > -_QUIET)

    def clear(self, now: float) -> float:
        """Drop what was not played yet; return how many seconds were played, in all."""
        samples = round(max(0.0, self.until - now) * self._rate / self._sample_bytes)
        left = min(samples * self._sample_bytes, len(self.audio))
        del self.audio[len(self.audio) - left :]
        self.cleared_bytes += left
        self.until, self.sound_until = min(self.until, now), min(self.sound_until, now)
        return len(self.audio) / self._rate

    def seconds(self, size: int) -> float:
        """Return how long so many bytes play."""
        return size / self._rate
