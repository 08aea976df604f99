"""Linear PCM in binary messages: 16-bit samples, little-endian, mono."""

from collections.abc import Iterable

from service.audio.rates import RATES
from service.dialects.events import BadMessage, Format, Slip, Start
from service.ending import INVALID_PAYLOAD, UNSUPPORTED_DATA


def linear(rate: object, rates: Iterable[int] = RATES) -> Format:
    """Return the format for a sample rate, a number or its digits; raise BadMessage."""
    for known in rates:
        if str(rate) == str(known):
            return Format("pcm16", known)
    raise refused(f"a sample rate of {str(rate)[:20]}", map(str, rates))


def alike(start: Start) -> Format:
    """Return the one format of a start, linear both ways; raise ValueError."""
    if start.heard != start.played or start.heard.encoding != "pcm16":
        raise ValueError(f"linear PCM at one rate is needed, not {start.heard}, {start.played}")
    return start.heard


def refused(what: str, carried: Iterable[str]) -> BadMessage:
    """Return what ends a call whose audio nobody here can carry."""
    reason = f"{what} cannot be carried, only {', '.join(carried)}"
    return BadMessage(Slip.FORMAT, reason, UNSUPPORTED_DATA)


def whole(message: bytes) -> bytes:
    """Return audio that must be whole samples; raise BadMessage."""
    if len(message) % 2:
        reason = "a binary message must be whole 16-bit samples"
        raise BadMessage(Slip.HALF_SAMPLE, reason, INVALID_PAYLOAD)
    return message


class Joiner:
    """Puts samples together that were split between messages; `size` is a sample's in bytes."""

    def __init__(self, size: int = 2) -> None:
        self._size, self._rest = size, b""

    def whole(self, message: bytes) -> bytes:
        """Return the whole samples of a message, behind what the message before it has left."""
        if not self._rest and not len(message) % self._size:
            return message
        audio = self._rest + message
        end = len(audio) - len(audio) % self._size
        self._rest = audio[end:]
        return audio[:end]
