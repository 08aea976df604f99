"""What is told in a call, in the same words whatever the peer speaks.

Audio is `bytes`, in the format that the start has named. The service hears a peer say a Start,
Marks, Digits and so on. It says Marks, Clears and so on itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: The keys of a telephone (ITU-T Q.23).
DIGITS = frozenset("0123456789*#ABCD")


@dataclass(frozen=True, slots=True)
class Format:
    """How audio is written: `pcm16` (little-endian), `ulaw` or `alaw`; and samples a second."""

    encoding: str
    rate: int


@dataclass(frozen=True, slots=True)
class Start:
    """The peer begins: the formats of what it sends and of what it plays, and whom it speaks for.

    `from_` and `to` are telephone numbers or names. `call_id` and `stream_id` are the peer's own.
    `parameters` are what the peer's user has set. `said` is all that the peer said, as it said it.
    """

    heard: Format
    played: Format
    stream_id: str = ""
    call_id: str = ""
    from_: str = ""
    to: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """To the peer: a place in the audio. From the peer: its playing has reached that place."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """To the peer: drop all audio and marks that were not played yet."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The peer's answer to a clear, and how much of all the call's audio it has played.

    None where it does not say how much.
    """

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Digits:
    """Keys were pressed: `0` to `9`, `*`, `#`, `A` to `D`."""

    digits: str


@dataclass(frozen=True, slots=True)
class Message:
    """Data of the other side's own, any JSON value, and how many characters its text had."""

    data: Any
    characters: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """The peer's buffer is full, and it takes no more audio; or it is `open` again."""

    open: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer reports an error; the call goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """To the peer: show that you are there. Whatever it sends then shows it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Some of the peer's audio never came: there is a gap before what is heard next."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream is over. To the peer: hang up."""


Event = Start | Mark | Clear | Cleared | Digits | Message | Flow | Fault | Lost | Alive | Stop


class Slip(StrEnum):
    """What is wrong with a message: a label of `rt_audio_dialect_errors_total`."""

    NOT_JSON = "not_json"
    BAD_EVENT = "bad_event"  # a member is missing, or has a wrong value
    UNKNOWN_EVENT = "unknown_event"
    BAD_BASE64 = "bad_base64"
    HALF_SAMPLE = "half_sample"
    WRONG_STREAM = "wrong_stream"
    BEFORE_START = "before_start"
    NO_START = "no_start"
    SECOND_START = "second_start"
    FORMAT = "format"  # audio that nobody here can carry
    LOST = "lost"  # audio that never came, or came too late
    KIND = "kind"  # text where only binary may be, or binary where only text may be
    PEER = "peer"  # an error that the peer reported


class BadMessage(Exception):  # noqa: N818
    """A message breaks the rules of its dialect.

    It ends the call with the close code and `str()` as the reason. Without a code it is counted and
    skipped.
    """

    def __init__(self, slip: Slip, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.slip, self.code = slip, code


def before_start() -> BadMessage:
    """Return what is wrong with a message of a stream that has not begun; it is skipped."""
    return BadMessage(Slip.BEFORE_START, "the stream has not begun")


def second_start() -> BadMessage:
    """Return what is wrong with a start of a stream that has one; it is skipped."""
    return BadMessage(Slip.SECOND_START, "the stream has begun already")
