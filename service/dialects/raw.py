"""The service's own dialect, at /ws/audio: binary audio, and JSON text messages for the rest."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from service.dialects.events import (
    DIGITS,
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Mark,
    Message,
    Slip,
    Start,
)
from service.dialects.half import Dialect
from service.ending import UNSUPPORTED_DATA

#: More milliseconds than this, 30 years, are a slip.
_MOST_MILLISECONDS = 1e12


class Service:
    """The service's half. Only a caller that takes `events` is sent text messages.

    Raises TypeError or ValueError for a message that is not JSON.
    """

    def __init__(self, query: Mapping[str, str]) -> None:
        self.marks = self.clears = query.get("events") == "json"

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            return message
        return (
            _event(
                message, _from_caller, "a mark, cleared, digits or message event", UNSUPPORTED_DATA
            ),
        )

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        return _said(event) if self.marks else ()


class Caller:
    """The caller's half, of a caller that takes events. It skips those of another version."""

    marks = clears = True

    def __init__(self, start: Start) -> None:
        """Need no start: the caller's terms are in its URL."""

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            return message
        return (_event(message, _from_service, "a mark, clear, digits or message event", None),)

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        return _said(event)


def _event(
    text: str, understood: Callable[[Any], Event | None], wanted: str, code: int | None
) -> Event:
    try:
        told = _decode(text)
    except (ValueError, RecursionError):
        raise BadMessage(Slip.NOT_JSON, "a text message must be JSON", code) from None
    event = understood(told)
    if event is None:
        raise BadMessage(Slip.BAD_EVENT, f"a text message must be {wanted}", code)
    return Message(event.data, len(text)) if isinstance(event, Message) else event


def _from_caller(told: Any) -> Event | None:
    match told:
        case {"type": "cleared", "milliseconds": int() | float() as heard} if (
            0 <= heard <= _MOST_MILLISECONDS
        ):
            return Cleared(heard / 1000)
    return _from_either(told)


def _from_service(told: Any) -> Event | None:
    match told:
        case {"type": "clear"}:
            return Clear()
    return _from_either(told)


def _from_either(told: Any) -> Event | None:
    match told:
        case {"type": "mark", "name": str(name)}:
            return Mark(name)
        case {"type": "digits", "digits": str(digits)} if set(digits) <= DIGITS:
            return Digits(digits)
        case {"type": "message", "message": data}:
            return Message(data)
    return None


def _said(event: Event) -> Sequence[str]:
    match event:
        case Mark(name):
            return (_encode({"type": "mark", "name": name}),)
        case Clear():
            return (_encode({"type": "clear"}),)
        case Cleared(seconds) if seconds is not None:
            return (_encode({"type": "cleared", "milliseconds": round(1000 * seconds)}),)
        case Digits(digits):
            return (_encode({"type": "digits", "digits": digits}),)
        case Message(data):
            return (_encode({"type": "message", "message": data}),)
    return ()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    """Return a number that fits; a handler could not send another one back."""
    number = float(text)
    return number if isfinite(number) else _no_number(text)


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number).decode
_encode = json.JSONEncoder(allow_nan=False).encode


DIALECT = Dialect("raw", Service, Caller)
