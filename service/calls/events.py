"""What a handler hears besides audio, in the order in which it came."""

from dataclasses import dataclass
from typing import Any


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


Event = Mark | Digits | Message
