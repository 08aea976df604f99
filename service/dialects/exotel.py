"""Exotel's AgentStream, as its Voicebot applet has it, at /ws/exotel: Twilio's shape in snake case.

Sources: Exotel's "WebSocket protocol" and "Working with the Stream and Voicebot Applet". Audio is
raw PCM16 at 8000, 16000 or 24000 Hz, in messages of 100 ms. What is sent to Exotel should be
multiples of 320 bytes: hence whole frames.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.dialects import media
from service.dialects.events import Format, Start
from service.dialects.half import Dialect
from service.dialects.media import carried
from service.dialects.text import converted, encoded, strings

#: The document's name; and the name that older documents and streams have.
_ENCODINGS = {"audio/x-raw": "pcm16", "base64": "pcm16"}


class _Media(media.Media, tag="media"):
    stream_id: str = msgspec.field(name="stream_sid", default="")


class _Format(msgspec.Struct):
    encoding: str
    sample_rate: int


class _Call(msgspec.Struct):
    stream_sid: str
    media_format: _Format
    call_sid: str = ""
    from_: str = msgspec.field(name="from", default="")
    to: str = ""
    custom_parameters: dict[str, Any] = {}


class Service(media.Service):
    """The service's half."""

    _media = msgspec.json.Decoder(_Media)
    _id = "stream_sid"

    def _start(self, told: dict[str, Any]) -> Start:
        call = converted(told.get("start"), _Call)
        audio = call.media_format
        format_ = carried(audio.encoding, audio.sample_rate, 1, _ENCODINGS)
        return Start(
            heard=format_,
            played=format_,
            stream_id=call.stream_sid,
            call_id=call.call_sid,
            from_=call.from_,
            to=call.to,
            parameters=strings(call.custom_parameters),
            said=told,
        )


class Provider(media.Provider):
    """Exotel's half."""

    _media = msgspec.json.Decoder(_Media)
    _id = "stream_sid"
    _encodings = _ENCODINGS
    _number = "sequence_number"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._call = {"call_sid": start.call_id, "account_sid": "exotel"}

    def _connected(self) -> Sequence[str]:
        return (encoded({"event": "connected"}),)

    def _track(self) -> dict[str, str]:
        return {}

    def _key(self, digit: str) -> dict[str, str]:
        return {"digit": digit, "duration": "100"}

    def _start(self, start: Start) -> dict[str, Any]:
        return {
            **self._call,
            "stream_sid": start.stream_id,
            "from": start.from_,
            "to": start.to,
            "custom_parameters": dict(start.parameters),
            "media_format": {
                "encoding": self._encoding,
                "sample_rate": str(start.heard.rate),
                "bit_rate": "16",
            },
        }


DIALECT = Dialect(
    "exotel",
    Service,
    Provider,
    frame_seconds=0.1,
    formats=tuple(Format("pcm16", rate) for rate in (8000, 16000, 24000)),
)
