"""G.711 in three interchangeable tiers: audioop, numpy and pure_python.

    codec = choose()                 # the best tier here, mu-law
    codec.encode(pcm)                # PCM16 (signed, little-endian, mono) to G.711, 2:1
    codec.decode(g711)               # and back

A tier may be missing from an interpreter; `available()` names those that are here.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Protocol

from service.codec.tables import ALAW, ULAW, Law, PurePython

__all__ = [
    "LAWS",
    "ORDER",
    "Codec",
    "CodecFallbackWarning",
    "alaw_to_pcm16",
    "available",
    "choose",
    "mulaw_to_pcm16",
    "pcm16_to_alaw",
    "pcm16_to_mulaw",
    "resolve",
    "tier",
]


class Codec(Protocol):
    """One law in one tier: encode and decode.

    `name` is the tier, `law` is `ulaw` or `alaw`. Both directions take bytes, bytearray or
    memoryview and return bytes; anything else is a TypeError, half a sample a ValueError, and
    nothing in is nothing out.
    """

    name: str
    law: str

    def encode(self, pcm: bytes | bytearray | memoryview) -> bytes:
        """Return one G.711 byte for each little-endian 16-bit sample."""

    def decode(self, g711: bytes | bytearray | memoryview) -> bytes:
        """Return one little-endian 16-bit sample for each G.711 byte."""


class CodecFallbackWarning(UserWarning):
    """The requested codec is not available here; another was chosen."""


#: Every tier, best first: C in one call, then NumPy, then Python.
ORDER = ("audioop", "numpy", "pure_python")
LAWS = ("ulaw", "alaw")


def _load() -> dict[tuple[str, str], Codec]:
    tiers: list[Callable[[Law], Codec]] = [PurePython]
    try:
        from service.codec.vector import Numpy
    except ImportError:
        pass
    else:
        tiers.append(Numpy)
    try:
        from service.codec.native import Audioop
    except ImportError:
        pass
    else:
        tiers.append(Audioop)
    codecs = [make(law) for make in tiers for law in (ULAW, ALAW)]
    return {(codec.name, codec.law): codec for codec in codecs}


_codecs = _load()
_available = tuple(name for name in ORDER if (name, "ulaw") in _codecs)


def available() -> tuple[str, ...]:
    """Return the names of the tiers that this interpreter has, best first."""
    return _available


def tier(name: str, law: str) -> Codec:
    """Return the codec of an available tier and a law; raise KeyError for any other."""
    return _codecs[name, law]


def resolve(requested: str | None = None, order: Sequence[str] = ORDER) -> str:
    """Return the requested tier if it is available, else the first of `order` that is.

    Silent, for the path of a session, which reports what it got in its own way. Raises
    LookupError when no tier of `order` is available.
    """
    here = available()
    if requested in here:
        return requested
    for name in order:
        if name in here:
            return name
    raise LookupError(f"none of the codecs {', '.join(order)} is available here")


def choose(requested: str | None = None, law: str = "ulaw", order: Sequence[str] = ORDER) -> Codec:
    """Return the codec of the requested tier, or of the best one there is.

    A name that is unknown or not available here gets the best one too, with a
    CodecFallbackWarning that says which.
    """
    name = resolve(requested, order)
    if requested is not None and name != requested:
        warnings.warn(
            f"codec {requested!r} is not available here; using {name!r}",
            CodecFallbackWarning,
            stacklevel=2,
        )
    return tier(name, law)


def pcm16_to_mulaw(samples: Iterable[int]) -> bytes:
    """Return the mu-law codes of samples, each clipped to 16 bits (ITU-T G.711).

    Raises TypeError for anything that is not an iterable of integers; bytes are refused too,
    because their integers are bytes and not samples (a codec's `encode` takes those).
    """
    return _compressed(samples, ULAW)


def mulaw_to_pcm16(data: bytes | bytearray) -> list[int]:
    """Return the samples, -32124 to 32124, of mu-law codes; raise TypeError for any but bytes."""
    return _expanded(data, ULAW)


def pcm16_to_alaw(samples: Iterable[int]) -> bytes:
    """Return the A-law codes of samples, each clipped to 16 bits; errors as for mu-law."""
    return _compressed(samples, ALAW)


def alaw_to_pcm16(data: bytes | bytearray) -> list[int]:
    """Return the samples, -32256 to 32256, of A-law codes; raise TypeError for any but bytes."""
    return _expanded(data, ALAW)


def _compressed(samples: Iterable[int], law: Law) -> bytes:
    if samples is None or isinstance(samples, str | bytes | bytearray | memoryview):
        raise TypeError(f"expected an iterable of integers, not {type(samples).__name__}")
    clipped = (max(-32768, min(32767, index(sample))) for sample in samples)
    return bytes(law.codes[sample & 0xFFFF] for sample in clipped)


def _expanded(data: bytes | bytearray, law: Law) -> list[int]:
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"expected bytes or bytearray, not {type(data).__name__}")
    return [law.samples[code] for code in data]
