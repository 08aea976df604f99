"""What is told besides audio: what a handler hears in order, and how a caller says it, in JSON."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

#: The keys of a telephone (ITU-T Q.23).
DIGITS = frozenset("0123456789*#ABCD")
#: More milliseconds than this, 30 years, are a slip.
_MOST_MILLISECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark that the handler had set was heard."""

    name: str


@dataclass(frozen=True, slots=True)
class Digits:
    """Keys were pressed: `0` to `9`, `*`, `#`, `A` to `D`."""

    digits: str


@dataclass(frozen=True, slots=True)
class Message:
    """The caller's own data, any JSON value."""

    data: Any


@dataclass(frozen=True, slots=True)
class Cleared:
    """The caller's answer to a clear: how much of all the call's audio it has played."""

    seconds: float


Event = Mark | Digits | Message


def decode(text: str) -> Event | Cleared:
    """Return what a caller's text message says; raise ValueError with a reason for the caller."""
    try:
        told = _decode(text)
    except (ValueError, RecursionError):
        raise ValueError("a text message must be JSON") from None
    match told:
        case {"type": "mark", "name": str(name)}:
            return Mark(name)
        case {"type": "cleared", "milliseconds": int() | float() as heard} if (
            0 <= heard <= _MOST_MILLISECONDS
        ):
            return Cleared(heard / 1000)
        case {"type": "digits", "digits": str(digits)} if set(digits) <= DIGITS:
            return Digits(digits)
        case {"type": "message", "message": data}:
            return Message(data)
    raise ValueError("a text message must be a mark, cleared, digits or message event")


def encode(event: dict[str, Any]) -> str:
    """Return the text message for a caller; raise TypeError or ValueError for what is not JSON."""
    return _encode(event)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    """Return a number that fits; a handler could not send another one back."""
    number = float(text)
    return number if isfinite(number) else _no_number(text)


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number).decode
_encode = json.JSONEncoder(allow_nan=False).encode
