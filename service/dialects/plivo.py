"""Plivo's audio streaming, with `bidirectional="true"`, at /ws/plivo: Twilio's shape, other words.

Sources: Plivo's "Audio Streaming Protocol Reference" and the types of its streaming SDK. Plivo has
`checkpoint` for a mark, and confirms a clear. No `stop` is documented: Plivo closes. L16 is
little-endian: Plivo's own guides pass it on as it is to services that want it so.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from service.dialects import media
from service.dialects.events import (
    DIGITS,
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Format,
    Mark,
    Start,
)
from service.dialects.half import Dialect
from service.dialects.media import carried, from_and_to, named, with_from_and_to
from service.dialects.text import converted, encoded, strings, told

_ENCODINGS = {"audio/x-l16": "pcm16", "audio/x-mulaw": "ulaw"}


class _Media(media.Media, tag="media"):
    stream_id: str = msgspec.field(name="streamId", default="")


class _PlayAudio(media.Media, tag="playAudio"):
    pass


class _Format(msgspec.Struct, rename="camel", frozen=True):
    encoding: str = "audio/x-l16"
    sample_rate: int = 8000


class _Call(msgspec.Struct, rename="camel"):
    stream_id: str
    call_id: str = ""
    media_format: _Format = _Format()


class Service(media.Service):
    """The service's half.

    Plivo does not say who calls whom. The parameters are the user's `extraHeaders`; `from_` and
    `to` are those called `From` and `To`, or `from` and `to`.
    """

    _media = msgspec.json.Decoder(_Media)
    _id = "streamId"
    _events = ("playedStream", "played", "clearedAudio", "dtmf", "stop")

    def _start(self, told: dict[str, Any]) -> Start:
        call = converted(told.get("start"), _Call)
        audio, parameters = call.media_format, _parameters(told.get("extra_headers"))
        format_ = carried(audio.encoding, audio.sample_rate, 1, _ENCODINGS)
        from_, to = from_and_to(parameters)
        return Start(
            heard=format_,
            played=format_,
            stream_id=call.stream_id,
            call_id=call.call_id,
            from_=from_,
            to=to,
            parameters=parameters,
            said=told,
        )

    def _silent(self, start: Start) -> dict[str, Any]:
        kind = named(start.played, _ENCODINGS)
        inside = {"contentType": kind, "sampleRate": start.played.rate, "payload": ""}
        return {"event": "playAudio", "media": inside}

    def _understood(self, told: dict[str, Any]) -> Event | None:
        match told:
            # The reference calls it so, and Plivo's support page so.
            case {"event": "playedStream" | "played", "name": str(name)}:
                return Mark(name)
            case {"event": "clearedAudio"}:
                return Cleared()
        return super()._understood(told)

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Mark(name):
                return (encoded({"event": "checkpoint", **self._address, "name": name}),)
            case Clear():
                return (encoded({"event": "clearAudio", **self._address}),)
            case Digits(digits):
                return (encoded({"event": "sendDTMF", "dtmf": digits}),)
        return ()


class Provider(media.Provider):
    """Plivo's half."""

    _media = msgspec.json.Decoder(_PlayAudio)
    _id = "streamId"
    _events = ("checkpoint", "clearAudio", "sendDTMF")
    _encodings = _ENCODINGS
    _number = "sequenceNumber"
    _written = int

    def _own(self, stream_id: object) -> None:
        if stream_id:  # not every message to Plivo has one
            super()._own(stream_id)

    def _understood(self, told: dict[str, Any]) -> Event | None:
        match told:
            case {"event": "checkpoint", "name": str(name)}:
                return Mark(name)
            case {"event": "clearAudio"}:
                return Clear()
            case {"event": "sendDTMF", "dtmf": str(digits)} if DIGITS.issuperset(digits):
                return Digits(digits)
        return None

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start():
                return (encoded(self._started(event)),)
            case Digits():
                return super().say(event)
            case Mark(name):
                return (self._message("playedStream", name=name),)
            case Cleared():
                return (self._message("clearedAudio"),)
        return ()

    def _started(self, start: Start) -> dict[str, Any]:
        return {
            "sequenceNumber": 0,
            "event": "start",
            "start": {
                "callId": start.call_id,
                "streamId": start.stream_id,
                "accountId": "plivo",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": self._encoding, "sampleRate": start.heard.rate},
            },
            "extra_headers": encoded(with_from_and_to(start)),
        }

    def _key(self, digit: str) -> dict[str, str]:
        return {"track": "inbound", "digit": digit, "timestamp": self._timestamp()}


def _parameters(headers: object) -> dict[str, str]:
    """Return extra headers: JSON in the SDK's types, `a=b;c=d` in the reference.

    The older documents have `{a: b, c: d}`.
    """
    if not isinstance(headers, str):
        return {}
    with suppress(BadMessage):
        return strings(told(headers))
    pairs = (re.split("[=:]", pair, maxsplit=1) for pair in re.split("[;,]", headers.strip("{}")))
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


DIALECT = Dialect(
    "plivo",
    Service,
    Provider,
    formats=(Format("ulaw", 8000), Format("pcm16", 8000), Format("pcm16", 16000)),
)
