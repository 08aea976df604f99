"""The audio of a call whose replies have another sample rate, without I/O."""

from collections import deque
from collections.abc import Generator
from typing import Any

from service.audio.encodings import BYTES_PER_SAMPLE
from service.audio.resample import Resampler
from service.calls.session import PIECE_BYTES, Conversion, Session
from service.calls.terms import Terms
from service.conversation import Message, Work
from service.ending import Ending
from service.tally import Tally


class ResamplingSession(Session):
    """A session that decodes, resamples and encodes; each reply counts by its own size.

    Frames have as many bytes at most that neither a reply nor its PCM exceeds twice
    `max_frame_bytes`, as without resampling.
    """

    __slots__ = ("_replies_seconds", "_seconds_per_reply_byte")

    def __init__(
        self, terms: Terms, tally: Tally, max_frame_bytes: int, greeting: str | None = None
    ) -> None:
        encoding, reply = terms.encoding, terms.reply
        rate, reply_rate = terms.sample_rate, terms.reply_rate
        size = BYTES_PER_SAMPLE[encoding]
        longest = max_frame_bytes * size * rate // reply_rate  # 2 bytes of PCM for each sample
        super().__init__(terms, tally, min(max_frame_bytes, longest), greeting)
        resample: Conversion = Resampler(rate, reply_rate).convert, tally.resample_seconds
        decode = () if encoding == "pcm16" else (self._decoder(terms.codec, encoding),)
        encode = () if reply == "pcm16" else (self._encoder(terms.codec, reply),)
        self._conversions = (*decode, resample, *encode)
        # So that a piece has no more samples after it was resampled than others have before.
        samples = PIECE_BYTES // size * min(rate, reply_rate) // reply_rate
        self._piece_bytes = samples * size
        self._seconds_per_reply_byte = 1 / (reply_rate * BYTES_PER_SAMPLE[reply])
        self._replies_seconds = deque[float]()  # of the replies that are not written yet

    def receive(self, message: Any) -> bytes | Ending | Work:
        """Return the reply to a frame, the ending that it brings, or long work in pieces.

        A frame of a few samples may have an empty reply.
        """
        reply = super().receive(message)
        if type(reply) is bytes:
            self._replies_seconds.append(len(reply) * self._seconds_per_reply_byte)
        return reply

    def _in_pieces(self, message: bytes) -> Generator[None, None, bytes]:
        reply = yield from super()._in_pieces(message)
        self._replies_seconds.append(len(reply) * self._seconds_per_reply_byte)
        return reply

    def unanswered(self) -> None:
        self._replies_seconds.pop()

    def replied(self, message: Message, seconds: float) -> None:
        """Count a reply that was written so many seconds after its message was read."""
        self._tally.outbound_seconds += self._replies_seconds.popleft()
        self._tally.turnaround_seconds.add(seconds)
