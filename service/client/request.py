"""The request for a call: its address and query, and the audio in the encoding that is sent."""

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl

from service.audio.encodings import ENCODING_NAMES
from service.audio.wav import Audio
from service.client.dial import Address, ClientError
from service.codec import choose
from service.plain import plain


class RequestError(ClientError):
    """The query of the URL is wrong, or contradicts an option."""


@dataclass(frozen=True)
class Request:
    """Where to call, which audio to send, and which encoding, rate and codec to ask for."""

    address: Address
    audio: Audio
    reply: str
    reply_rate: int
    codec: str | None

    @classmethod
    def make(
        cls,
        audio: Audio,
        url: str,
        *,
        encoding: str | None = None,
        reply: str | None = None,
        codec: str | None = None,
        reply_rate: int | None = None,
    ) -> Self:
        """Return the request of these options and of the URL's query; raise ClientError.

        The query of the URL holds. Without `encoding` the audio is sent as it is, without `reply`
        it comes back in the encoding that was sent, without `reply_rate` at the rate too.
        `sample_rate` is the audio's own unless the URL has another, with which the audio is then
        played. Events are asked for, since the first says who answers.
        """
        address = Address.parse(url)
        # Of two parameters with one name the service takes the first.
        asked = dict(reversed(parse_qsl(address.query, keep_blank_values=True)))
        options = {"encoding": encoding, "reply": reply, "codec": codec}
        options["reply_rate"] = None if reply_rate is None else str(reply_rate)
        for name, option in options.items():
            if option is not None and _same(asked.setdefault(name, option)) != _same(option):
                raise RequestError(
                    f"the option {name}={option} contradicts {name}={plain(asked[name])} in the URL"
                )
        sent = _encoding(asked, "encoding", audio.encoding)
        back = _encoding(asked, "reply", sent)
        rate = _rate(asked, "sample_rate", audio.sample_rate)
        asked.setdefault("events", "json")
        asked |= {"encoding": sent, "reply": back, "sample_rate": str(rate)}
        return cls(
            address.asking(asked),
            replace(converted(audio, sent), sample_rate=rate),
            back,
            _rate(asked, "reply_rate", rate),
            asked.get("codec"),
        )


def _same(name: str) -> str:
    """Return one spelling for all names of an encoding or a codec."""
    return ENCODING_NAMES.get(name.lower(), name.lower())


def _encoding(asked: dict[str, str], parameter: str, default: str) -> str:
    name = asked.get(parameter, default)
    try:
        return ENCODING_NAMES[name.lower()]
    except KeyError:
        raise RequestError(
            f"{parameter}={plain(name)} names no encoding; there are {', '.join(ENCODING_NAMES)}"
        ) from None


def _rate(asked: dict[str, str], parameter: str, default: int) -> int:
    text = asked.get(parameter, str(default))
    # Which whole numbers are too large is for the service to say.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise RequestError(f"{parameter}={plain(text)} is no number of samples a second")
    return int(text)


def converted(audio: Audio, encoding: str) -> Audio:
    """Return the audio in this encoding, by way of PCM."""
    data = audio.data
    if encoding != audio.encoding:
        if audio.encoding != "pcm16":
            data = choose(law=audio.encoding).decode(data)
        if encoding != "pcm16":
            data = choose(law=encoding).encode(data)
    return Audio(data, audio.sample_rate, encoding)
