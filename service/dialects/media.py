"""Streams of JSON text messages that name an `event`, with audio as base64: Twilio's shape.

Others took it over, with names of their own. Here is what they share. A dialect's file has its
names, and how its streams start.
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from service.audio.rates import RATES
from service.dialects.events import (
    DIGITS,
    BadMessage,
    Clear,
    Digits,
    Event,
    Format,
    Mark,
    Slip,
    Start,
    Stop,
    before_start,
    second_start,
)
from service.dialects.linear import refused
from service.dialects.text import decoded, encoded, told, with_known
from service.ending import INVALID_PAYLOAD, UNSUPPORTED_DATA

#: What both halves hear say.
Heard = bytes | tuple[bytes | Event, ...]


class Audio(msgspec.Struct):
    """The inside of a media message. msgspec decodes the base64."""

    payload: bytes
    track: str = "inbound"


class Media(msgspec.Struct, tag_field="event", tag="media"):
    """A media message. A dialect says what it calls the stream's id."""

    media: Audio
    stream_id: str = ""


class Hearing:
    """What both halves do with what they hear."""

    #: Reads a media message.
    _media: ClassVar[msgspec.json.Decoder[Any]]
    #: What the other messages call the stream's id.
    _id: ClassVar[str]
    #: The other events that say something.
    _events: ClassVar[tuple[str, ...]]
    #: The track that is not heard.
    _passed_over = "outbound"
    #: None until the stream has started.
    _stream_id: str | None
    _sample_bytes: int

    def hear(self, message: bytes | str) -> Heard:
        if not isinstance(message, str):
            raise BadMessage(Slip.KIND, "a message must be text, not binary", UNSUPPORTED_DATA)
        try:
            said = decoded(message, self._media, "event")
        except BadMessage as bad:
            # Nearly every message is media, so that only the others are read twice.
            if bad.slip is not Slip.UNKNOWN_EVENT:
                raise
            return self._other(told(message), bad)
        if said.stream_id != self._stream_id:
            self._own(said.stream_id)
        audio = said.media
        if audio.track == self._passed_over:
            return ()
        if len(audio.payload) % self._sample_bytes:
            reason = "a message's audio must be whole 16-bit samples"
            raise BadMessage(Slip.HALF_SAMPLE, reason, INVALID_PAYLOAD)
        return self._heard(audio)

    def _own(self, stream_id: object) -> None:
        """Raise BadMessage unless a message is of this stream, which has started."""
        if self._stream_id is None:
            raise before_start()
        if stream_id != self._stream_id:
            raise BadMessage(Slip.WRONG_STREAM, "the message is of another stream")

    def _heard(self, audio: Any) -> Heard:
        """Return what is heard as audio has come: whole samples, of this stream."""
        payload: bytes = audio.payload
        return payload

    def _other(self, told: dict[str, Any], unknown: BadMessage) -> Heard:
        """Return what a message says that is not media; raise BadMessage."""
        event = self._understood(told)
        if event is None and told["event"] in self._events:
            raise BadMessage(Slip.BAD_EVENT, f"a {told['event']} message must say what it is about")
        if event is None:
            raise unknown
        self._own(told.get(self._id))
        return (event,)

    def _understood(self, told: dict[str, Any]) -> Event | None:
        raise NotImplementedError


class Service(Hearing):
    """The service's half, in Twilio's words."""

    marks = clears = True
    _events: ClassVar[tuple[str, ...]] = ("mark", "dtmf", "stop")

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self._stream_id = None
        self._sample_bytes = 1
        #: What each message says to find its stream.
        self._address: dict[str, str] = {}
        self._before_audio = ""

    def _other(self, told: dict[str, Any], unknown: BadMessage) -> Heard:
        if told["event"] == "connected":
            return ()
        if told["event"] == "start":
            return (self._begin(told),)
        # A message without its stream's id can only be of this stream.
        return super()._other({self._id: self._stream_id, **told}, unknown)

    def _begin(self, told: dict[str, Any]) -> Start:
        if self._stream_id is not None:
            raise second_start()
        start = self._start(told)
        self._stream_id = start.stream_id
        self._sample_bytes = sample_bytes(start.heard)
        self._address = self._to(start)
        self._before_audio = encoded(self._silent(start)).removesuffix(_AFTER_AUDIO)
        return start

    def _start(self, told: dict[str, Any]) -> Start:
        """Return what the dialect's start message says; raise BadMessage."""
        raise NotImplementedError

    def _to(self, start: Start) -> dict[str, str]:
        return {self._id: start.stream_id}

    def _silent(self, start: Start) -> dict[str, Any]:
        """Return a media message without audio; its payload comes last."""
        return {"event": "media", **self._address, "media": {"payload": ""}}

    def _understood(self, told: dict[str, Any]) -> Event | None:
        match told:
            case {"event": "mark", "mark": {"name": str(name)}}:
                return Mark(name)
            case {"event": "dtmf", "dtmf": {"digit": str(digit)}} if digit in DIGITS:
                return Digits(digit)
            case {"event": "stop"}:
                return Stop()
        return None

    def audio(self, audio: bytes) -> str:
        return f"{self._before_audio}{b2a_base64(audio, newline=False).decode()}{_AFTER_AUDIO}"

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Mark(name):
                return (encoded({"event": "mark", **self._address, "mark": {"name": name}}),)
            case Clear():
                return (encoded({"event": "clear", **self._address}),)
        return ()


_AFTER_AUDIO = '"}}'


class Provider(Hearing):
    """The provider's half, in Twilio's words. It numbers its messages, and its audio.

    Raises ValueError where the start has audio that the provider has not.
    """

    # A service says nothing of marks, and does not drop what it has heard.
    marks = clears = False
    _events: ClassVar[tuple[str, ...]] = ("mark", "clear")
    _passed_over = ""
    #: The provider's names of encodings.
    _encodings: ClassVar[Mapping[str, str]]
    #: What the number of a message is called, and what numbers are written as.
    _number: ClassVar[str]
    _written: ClassVar[type[str] | type[int]] = str

    def __init__(self, start: Start) -> None:
        named(start.played, self._encodings)
        self._encoding = named(start.heard, self._encodings)
        self._stream_id = start.stream_id
        self._sample_bytes = sample_bytes(start.played)
        self._bytes_a_millisecond = start.heard.rate * sample_bytes(start.heard) / 1000
        self._messages = self._chunks = self._bytes = 0
        #: What a stop message says.
        self._call: dict[str, str] = {}

    def _understood(self, told: dict[str, Any]) -> Event | None:
        match told:
            case {"event": "mark", "mark": {"name": str(name)}}:
                return Mark(name)
            case {"event": "clear"}:
                return Clear()
        return None

    def audio(self, audio: bytes) -> str:
        self._chunks += 1
        chunk, timestamp = self._written(self._chunks), self._timestamp()
        self._bytes += len(audio)
        inside = {"chunk": chunk, "timestamp": timestamp, "payload": audio}
        return self._message("media", media={**self._track(), **inside})

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start():
                return (*self._connected(), self._message("start", start=self._start(event)))
            case Digits(digits):
                return [self._message("dtmf", dtmf=self._key(digit)) for digit in digits]
            case Mark(name):
                return (self._message("mark", mark={"name": name}),)
            case Stop():
                return (self._message("stop", stop=self._call),)
        return ()

    def _connected(self) -> Sequence[str]:
        """Return what comes before the start."""
        return (encoded({"event": "connected", "version": "1.0.0"}),)

    def _start(self, start: Start) -> dict[str, Any]:
        """Return the inside of the dialect's start message."""
        raise NotImplementedError

    def _track(self) -> dict[str, str]:
        return {"track": "inbound"}

    def _key(self, digit: str) -> dict[str, str]:
        return {"digit": digit}

    def _timestamp(self) -> str:
        """Return the milliseconds since the start, by the audio that was said."""
        return str(round(self._bytes / self._bytes_a_millisecond))

    def _message(self, event: str, **inside: object) -> str:
        self._messages += 1
        number = {self._number: self._written(self._messages)}
        return encoded({"event": event, **number, **inside, self._id: self._stream_id})


def sample_bytes(format_: Format) -> int:
    """Return how many bytes a sample has."""
    return 2 if format_.encoding == "pcm16" else 1


def carried(encoding: str, rate: int, channels: int, encodings: Mapping[str, str]) -> Format:
    """Return the format of audio, by the peer's names of encodings; raise BadMessage.

    What cannot be carried ends the call.
    """
    if encoding not in encodings:
        raise refused(f"an encoding of {encoding[:20]}", encodings)
    if rate not in RATES:
        raise refused(f"a sample rate of {str(rate)[:20]}", map(str, RATES))
    if channels != 1:
        raise refused(f"audio of {channels} channels", ("1",))
    return Format(encodings[encoding], rate)


def named(format_: Format, encodings: Mapping[str, str]) -> str:
    """Return the peer's name of an encoding; raise ValueError where the peer has none."""
    for name, encoding in encodings.items():
        if encoding == format_.encoding:
            return name
    raise ValueError(f"the provider has no {format_.encoding}, only {', '.join(encodings)}")


def from_and_to(parameters: Mapping[str, str]) -> tuple[str, str]:
    """Return who calls and who is called, where the user has set that as parameters."""
    return (
        parameters.get("From", parameters.get("from", "")),
        parameters.get("To", parameters.get("to", "")),
    )


def with_from_and_to(start: Start) -> dict[str, str]:
    """Return the parameters of a start, with who calls and who is called among them."""
    return with_known(start.parameters, {"From": start.from_, "To": start.to})
