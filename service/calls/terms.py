"""What a caller asks for, read from the query string of the upgrade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from service import codec
from service.audio.encodings import ENCODING_NAMES

SAMPLE_RATES = range(1, 192_001)


class BadParameter(Exception):  # noqa: N818
    """A query parameter has a value that is not allowed."""

    def __init__(self, parameter: str, value: str, allowed: str) -> None:
        super().__init__(f"{parameter}={value}: must be {allowed}")
        self.parameter, self.value, self.allowed = parameter, value, allowed


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a caller gets: a codec tier, encodings by their own name, samples a second."""

    codec: str
    encoding: str
    reply: str
    sample_rate: int

    @classmethod
    def parse(cls, query: Mapping[str, str], codec_order: Sequence[str]) -> Self:
        """Return the parameters that a query string gives; raise BadParameter.

        Names of encodings and codecs may be in any case. An unknown or unavailable codec gets
        the best of `codec_order`.
        """
        encoding = _encoding(query, "encoding", "pcm16")
        return cls(
            codec=codec.resolve(query.get("codec", "").lower(), codec_order),
            encoding=encoding,
            reply=_encoding(query, "reply", encoding),
            sample_rate=_sample_rate(query.get("sample_rate", "8000")),
        )


def _encoding(query: Mapping[str, str], parameter: str, default: str) -> str:
    value = query.get(parameter, default)
    try:
        return ENCODING_NAMES[value.lower()]
    except KeyError:
        raise BadParameter(parameter, value, "one of " + ", ".join(ENCODING_NAMES)) from None


def _sample_rate(value: str) -> int:
    # int() would take signs, spaces, underscores and other scripts' digits, and any length.
    if value.isascii() and value.isdigit() and len(value) <= 9 and int(value) in SAMPLE_RATES:
        return int(value)
    raise BadParameter(
        "sample_rate", value, f"a whole number from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
    )
