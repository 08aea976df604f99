"""What a caller and the service agree on, from the query string of the upgrade."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from service import codec
from service.audio.encodings import ENCODING_NAMES
from service.audio.rates import RATES

SAMPLE_RATES = range(1, 192_001)
#: The parameters of /ws/audio; README.md has their table.
PARAMETERS = (
    "encoding", "reply", "codec", "sample_rate", "reply_rate", "channels", "events", "live", "lead",
    "access_token",
)  # fmt: skip
_RATES = "one of " + ", ".join(map(str, RATES))
#: How far ahead of the clock a handler's audio may be sent, in milliseconds.
LEADS = range(1001)
#: So many unknown parameters are told, no more: their names are the caller's.
_MOST_TOLD = 5


class BadParameter(Exception):  # noqa: N818
    """A query parameter has a value that is not allowed."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        super().__init__(f"{parameter}={value}: must be {allowed}")
        self.parameter, self.value, self.allowed = parameter, value, allowed


@dataclass(frozen=True, slots=True)
class Terms:
    """The codec tier, the encodings by their own names, and the samples a second of each way.

    `events` says that the caller wants to be told of events in JSON text messages. The others
    concern only calls with a handler. `live` audio is of no use late. `lead` is how far ahead of
    the clock the handler's audio is sent, in seconds; with `frame_seconds` in frames of exactly
    so many. With `places` the caller is asked now and then how far it has heard.
    """

    codec: str
    encoding: str
    reply: str
    sample_rate: int
    reply_rate: int
    events: bool = False
    live: bool = False
    lead: float = 0.04
    frame_seconds: float | None = None
    places: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str], codec_order: Sequence[str]) -> Self:
        """Return the terms that a query string asks for; raise BadParameter.

        Names of encodings and codecs may be in any case. An unknown or unavailable codec gets
        the best of `codec_order`.
        """
        encoding = _encoding(query, "encoding", "pcm16")
        sample_rate = _whole_number(query, "sample_rate", "8000", SAMPLE_RATES)
        _only(query, "channels", "1", "1; audio is mono")
        return cls(
            codec=codec.resolve(query.get("codec", "").lower(), codec_order),
            encoding=encoding,
            reply=_encoding(query, "reply", encoding),
            sample_rate=sample_rate,
            reply_rate=_reply_rate(query.get("reply_rate"), sample_rate),
            events=_only(query, "events", "json", "json, or left out"),
            live=_only(query, "live", "true", "true, or left out"),
            lead=_whole_number(query, "lead", "40", LEADS) / 1000,
        )

    def facts(self) -> dict[str, str | int]:
        """Return what callers and operators are told of the terms, by the names of parameters."""
        return {
            "codec": self.codec,
            "encoding": self.encoding,
            "reply": self.reply,
            "sample_rate": self.sample_rate,
            "reply_rate": self.reply_rate,
        }


def unknown_parameters(query: Mapping[str, str], *, handled: bool) -> list[str]:
    """Return a sentence for each parameter that nothing reads, most likely a slip.

    A handler may read any, so of its calls only those are told that look like a slip. Names come
    from the caller, so those that do not look like names are left out.
    """
    unknown = (name for name in query if name not in PARAMETERS)
    names = (name for name in unknown if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name))
    sentences = []
    for name in islice(names, _MOST_TOLD):
        near = difflib.get_close_matches(name.lower(), PARAMETERS, 1, cutoff=0.75)
        if near or not handled:
            sentences.append(f"{name} is not a parameter" + (f"; {near[0]}?" if near else ""))
    return sentences


def _encoding(query: Mapping[str, str], parameter: str, default: str) -> str:
    value = query.get(parameter, default)
    try:
        return ENCODING_NAMES[value.lower()]
    except KeyError:
        raise BadParameter(parameter, value, "one of " + ", ".join(ENCODING_NAMES)) from None


def _only(query: Mapping[str, str], parameter: str, value: str, allowed: str) -> bool:
    """Return whether a parameter that has only one value is there."""
    given = query.get(parameter)
    if given not in (None, value):
        raise BadParameter(parameter, str(given), allowed)
    return given is not None


def _whole_number(query: Mapping[str, str], parameter: str, default: str, allowed: range) -> int:
    value = query.get(parameter, default)
    number = _whole(value)
    if number not in allowed:
        least, most = allowed[0], allowed[-1]
        raise BadParameter(parameter, value, f"a whole number from {least} to {most}")
    return number


def _reply_rate(value: str | None, sample_rate: int) -> int:
    rate = sample_rate if value is None else _whole(value)
    if rate == sample_rate:
        return rate
    if rate not in RATES:
        raise BadParameter("reply_rate", str(value), f"{_RATES}, or as sample_rate")
    if sample_rate not in RATES:
        raise BadParameter("sample_rate", str(sample_rate), f"{_RATES} where reply_rate differs")
    if "numpy" not in codec.available():
        raise BadParameter("reply_rate", str(value), "as sample_rate: no NumPy is here to resample")
    return rate


def _whole(value: str) -> int:
    """Return a whole number, or -1 for any other text."""
    # int() would take signs, spaces, underscores and other scripts' digits, and any length.
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else -1
