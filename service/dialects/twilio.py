"""Twilio Media Streams, as `<Connect><Stream>` has them, at /ws/twilio.

Source: Twilio's "Media Streams - WebSocket Messages". Numbers of messages are strings there, and
audio is always mu-law at 8000 Hz. Twilio drops a binary message and one without its stream's id.
Closing the WebSocket hangs up, or goes on to the next verb.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.dialects import media
from service.dialects.events import Start
from service.dialects.half import Dialect
from service.dialects.media import carried, from_and_to, with_from_and_to
from service.dialects.text import converted, encoded, strings

_ENCODINGS = {"audio/x-mulaw": "ulaw"}


class _Media(media.Media, tag="media"):
    stream_id: str = msgspec.field(name="streamSid", default="")


class _Format(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Call(msgspec.Struct, rename="camel"):
    stream_sid: str
    media_format: _Format
    call_sid: str = ""
    custom_parameters: dict[str, Any] = {}


class Service(media.Service):
    """The service's half.

    Twilio does not say who calls whom. `from_` and `to` are the custom parameters `From` and `To`,
    or `from` and `to`, where the user has set them.
    """

    _media = msgspec.json.Decoder(_Media)
    _id = "streamSid"

    def _start(self, told: dict[str, Any]) -> Start:
        call = converted(told.get("start"), _Call)
        audio, parameters = call.media_format, strings(call.custom_parameters)
        format_ = carried(audio.encoding, audio.sample_rate, audio.channels, _ENCODINGS)
        from_, to = from_and_to(parameters)
        return Start(
            heard=format_,
            played=format_,
            stream_id=call.stream_sid,
            call_id=call.call_sid,
            from_=from_,
            to=to,
            parameters=parameters,
            said=told,
        )


class Provider(media.Provider):
    """Twilio's half."""

    _media = msgspec.json.Decoder(_Media)
    _id = "streamSid"
    _encodings = _ENCODINGS
    _number = "sequenceNumber"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._call = {"accountSid": f"AC{'0' * 32}", "callSid": start.call_id}

    def _connected(self) -> Sequence[str]:
        return (encoded({"event": "connected", "protocol": "Call", "version": "1.0.0"}),)

    def _key(self, digit: str) -> dict[str, str]:
        return {"track": "inbound_track", "digit": digit}  # where audio says `inbound`

    def _start(self, start: Start) -> dict[str, Any]:
        return {
            **self._call,
            "streamSid": start.stream_id,
            "tracks": ["inbound"],
            "mediaFormat": {
                "encoding": self._encoding,
                "sampleRate": start.heard.rate,
                "channels": 1,
            },
            "customParameters": with_from_and_to(start),
        }


DIALECT = Dialect("twilio", Service, Provider, returns_marks=True)
