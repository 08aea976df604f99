"""Telnyx media streaming with `stream_bidirectional_mode=rtp`, at /ws/telnyx.

Source: Telnyx's AsyncAPI document "Stream call media over WebSocket". It does not promise order, so
that media is put in order by its chunk. It does not say how L16 orders its bytes. Here that is
little-endian, other than in RTP: users report it of real calls, and quote Telnyx's own example
(team-telnyx/realtime-ai-demo).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.audio.rates import RATES
from service.dialects import media
from service.dialects.events import (
    BadMessage,
    Digits,
    Event,
    Fault,
    Format,
    Lost,
    Slip,
    Start,
    Stop,
)
from service.dialects.half import Dialect
from service.dialects.media import Heard, carried, named
from service.dialects.text import converted, encoded, strings

_ENCODINGS = {"PCMU": "ulaw", "PCMA": "alaw", "L16": "pcm16"}
_RATES = {str(rate): rate for rate in RATES}
#: So many chunks wait for a missing one: 0.2 s where a chunk has 20 ms. What comes later than that
#: is of no use in a conversation, and all behind it would be as late.
_MOST_WAITING = 10


class _Audio(media.Audio, kw_only=True):
    chunk: int


class _Media(media.Media, tag="media"):
    media: _Audio


class _Format(msgspec.Struct):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Call(msgspec.Struct):
    media_format: _Format
    call_control_id: str = ""
    from_: str = msgspec.field(name="from", default="")
    to: str = ""
    custom_parameters: dict[str, Any] | None = None


class _Start(msgspec.Struct):
    stream_id: str
    start: _Call


class Service(media.Service):
    """The service's half. What it sends is PCMU at 8000 Hz, unless the URL's query says otherwise.

    Telnyx plays what the user has asked of it, and does not say what that is. So the query should
    repeat the user's `stream_bidirectional_codec` and `stream_bidirectional_sampling_rate`. Their
    defaults are Telnyx's own (source: its TeXML document of `<Stream>`).

    The first chunk is the one that is heard first. A chunk that comes twice, or after its place was
    given up, is LOST and skipped.
    """

    # The chunk is a string of digits.
    _media = msgspec.json.Decoder(_Media, strict=False)
    _id = "stream_id"
    _events = (*media.Service._events, "error")

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query)
        self._next = -1  # none was heard yet
        self._waiting: dict[int, bytes] = {}

    def _start(self, told: dict[str, Any]) -> Start:
        stream = converted(told, _Start)
        call, audio = stream.start, stream.start.media_format
        codec = self._query.get("stream_bidirectional_codec", "PCMU")
        rate = self._query.get("stream_bidirectional_sampling_rate", "8000")
        return Start(
            heard=carried(audio.encoding, audio.sample_rate, audio.channels, _ENCODINGS),
            played=carried(codec, _RATES.get(rate, 0), 1, _ENCODINGS),
            stream_id=stream.stream_id,
            call_id=call.call_control_id,
            from_=call.from_,
            to=call.to,
            parameters=strings(call.custom_parameters or {}),
            said=told,
        )

    def _to(self, start: Start) -> dict[str, str]:
        return {}

    def _understood(self, told: dict[str, Any]) -> Event | None:
        match told:
            case {"event": "error", "payload": dict(error)}:
                return Fault(" ".join(strings(error).values()))
            case {"event": "error"}:
                return Fault(encoded(told))
        return super()._understood(told)

    def _other(self, told: dict[str, Any], unknown: BadMessage) -> Heard:
        heard = super()._other(told, unknown)
        match heard:
            # What the caller does next comes behind all that the caller has said.
            case (Digits() | Stop(),) if self._waiting:
                return (*self._given_up(), *heard)
        return heard

    def _heard(self, audio: Any) -> Heard:
        if audio.chunk != self._next or self._waiting:
            return self._in_order(audio.chunk, audio.payload)
        self._next += 1
        payload: bytes = audio.payload
        return payload

    def _in_order(self, chunk: int, payload: bytes) -> Heard:
        if self._next < 0:
            self._next = chunk
        if chunk < self._next or chunk in self._waiting:
            raise BadMessage(Slip.LOST, "audio came twice, or too late")
        self._waiting[chunk] = payload
        lost: tuple[Event, ...] = ()
        if self._next not in self._waiting:
            if len(self._waiting) < _MOST_WAITING:
                return ()
            self._next, lost = min(self._waiting), (Lost(),)
        audio = b""
        while self._next in self._waiting:
            audio += self._waiting.pop(self._next)
            self._next += 1
        return (*lost, audio) if lost else audio

    def _given_up(self) -> tuple[bytes | Event, ...]:
        """Return what waits, without what is missing."""
        self._next = max(self._waiting) + 1
        audio = b"".join(payload for _, payload in sorted(self._waiting.items()))
        self._waiting.clear()
        return (Lost(), audio)


class Provider(media.Provider):
    """Telnyx's half.

    It cannot say what it plays: the query of the service's URL must.
    """

    _media = msgspec.json.Decoder(media.Media)
    _id = "stream_id"
    _encodings = _ENCODINGS
    _number = "sequence_number"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._call = {"user_id": "telnyx", "call_control_id": start.call_id}

    def _own(self, stream_id: object) -> None:
        """Take every message: Telnyx does not ask for the stream's id."""

    def say(self, event: Event) -> Sequence[str]:
        if isinstance(event, Fault):
            return (self._message("error", payload={"detail": event.text}),)
        return super().say(event)

    def _start(self, start: Start) -> dict[str, Any]:
        return {
            **self._call,
            "from": start.from_,
            "to": start.to,
            "custom_parameters": dict(start.parameters),
            "media_format": {
                "encoding": self._encoding,
                "sample_rate": start.heard.rate,
                "channels": 1,
            },
        }


def _query(played: Format) -> dict[str, str]:
    codec = named(played, _ENCODINGS)
    return {
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_sampling_rate": str(played.rate),
    }


DIALECT = Dialect(
    "telnyx",
    Service,
    Provider,
    returns_marks=True,
    query=_query,
    formats=(
        Format("ulaw", 8000),
        Format("alaw", 8000),
        *(Format("pcm16", rate) for rate in (8000, 16000, 22050, 24000, 48000)),
    ),
)
