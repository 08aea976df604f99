"""OpenAI Realtime by its names of general availability: the half of who speaks with the model.

The messages are those of the package `openai` (types/realtime). A model makes audio faster than it
is heard. So this half counts what it has handed out, and tells the model what of it was heard.
"""

from binascii import b2a_base64
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.audio.encodings import BYTES_PER_SAMPLE
from service.dialects.events import (
    BadMessage,
    Clear,
    Cleared,
    Event,
    Fault,
    Format,
    Message,
    Slip,
    Start,
)
from service.dialects.text import decoded, encoded
from service.ending import INVALID_PAYLOAD, UNSUPPORTED_DATA

_FORMATS: dict[Format, dict[str, Any]] = {
    Format("pcm16", 24000): {"type": "audio/pcm", "rate": 24000},
    Format("ulaw", 8000): {"type": "audio/pcmu"},
    Format("alaw", 8000): {"type": "audio/pcma"},
}
#: All formats that the model takes and gives.
FORMATS = tuple(_FORMATS)

#: The response had ended before it was cancelled: no fault of anybody's.
_TOO_LATE = "response_cancel_not_active"


class _Updated(msgspec.Struct, tag="session.updated"):
    session: dict[str, Any]


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None
    type: str | None = None

    def __str__(self) -> str:
        return self.message or self.code or self.type or "no reason given"


class _Details(msgspec.Struct):
    error: _Error | None = None


class _Response(msgspec.Struct):
    id: str = ""
    status: str | None = None
    status_details: _Details | None = None


class _Created(msgspec.Struct, tag="response.created"):
    response: _Response


class _Audio(msgspec.Struct, tag="response.output_audio.delta"):
    response_id: str
    item_id: str
    content_index: int
    delta: bytes


class _Done(msgspec.Struct, tag="response.done"):
    response: _Response


class _SpeechStarted(msgspec.Struct, tag="input_audio_buffer.speech_started"):
    pass


class _Failed(msgspec.Struct, tag="error"):
    error: _Error


_DECODER = msgspec.json.Decoder(_Updated | _Created | _Audio | _Done | _SpeechStarted | _Failed)
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


@dataclass(slots=True)
class _Item:
    """Audio of one item of the conversation, and how many bytes of it were handed out."""

    id: str
    content_index: int
    made: int = 0


@dataclass(slots=True)
class _Said:
    """What the model said between two clears, and the response that made the last of it."""

    items: list[_Item] = field(default_factory=list)
    response: str = ""


class Client:
    """The half that speaks with the model.

    `start` has the formats both ways, of FORMATS; others are a ValueError. `session` has what else
    the user wants of the session: instructions, a voice, tools.

    The model's own `Start` comes once it has confirmed the formats; audio must wait for that. It
    says `Clear` when it hears speech, and then drops what it was saying. `Cleared` lets it forget
    what was not heard. `Message` is any other event of the protocol, either way.
    """

    marks = clears = False

    def __init__(self, start: Start, session: Mapping[str, Any]) -> None:
        if not {start.heard, start.played} <= _FORMATS.keys():
            raise ValueError(f"the formats must be of {FORMATS}")
        self._session = session
        self._formats = {"input": _FORMATS[start.heard], "output": _FORMATS[start.played]}
        self._swapped = start.played, start.heard
        self._sample = BYTES_PER_SAMPLE[start.played.encoding]
        self._second = start.played.rate * self._sample
        self._confirmed = False
        self._said = _Said()
        self._cut: deque[_Said] = deque()  # for each clear that was not answered yet
        self._base = 0.0  # when the oldest of them began, in seconds of what was heard
        self._dropped: set[str] = set()  # responses that are not done

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start():
                return (self._update(self._session),)
            case Cleared(seconds):
                return tuple(map(encoded, self._cleared(seconds)))
            case Message({"type": "session.update", "session": dict(session)}):
                return (self._update(session),)
            case Message(data):
                return (encoded(data),)
        return ()

    def _update(self, session: Mapping[str, Any]) -> str:
        """Return the update of a session; one without formats was seen to bring PCM back."""
        given = session.get("audio", {})
        audio = {way: {**given.get(way, {}), "format": each} for way, each in self._formats.items()}
        session = {"type": "realtime", **session, "audio": audio}
        return encoded({"type": "session.update", "session": session})

    def _cleared(self, seconds: float | None) -> Iterator[dict[str, Any]]:
        said = self._cut.popleft() if self._cut else self._drop()
        if said.response in self._dropped:
            yield {"type": "response.cancel", "response_id": said.response}
        if seconds is None:
            return
        heard = round((seconds - self._base) * self._second)
        self._base = seconds
        for item in said.items:
            # A millisecond more than was made is an error.
            milliseconds = 1000 * heard // self._second
            if milliseconds > 0 and heard < item.made:
                yield {
                    "type": "conversation.item.truncate",
                    "item_id": item.id,
                    "content_index": item.content_index,
                    "audio_end_ms": milliseconds,
                }
            heard -= item.made

    def _drop(self) -> _Said:
        """Begin anew, and return what was said so far."""
        said, self._said = self._said, _Said()
        if said.response:
            self._dropped.add(said.response)
        return said

    def audio(self, audio: bytes) -> str:
        payload = b2a_base64(audio, newline=False).decode()
        return '{"type":"input_audio_buffer.append","audio":"' + payload + '"}'

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            raise BadMessage(Slip.KIND, "a message must be text", UNSUPPORTED_DATA)
        try:
            told = decoded(message, _DECODER, "type")
        except BadMessage as bad:
            if bad.slip is not Slip.UNKNOWN_EVENT:
                raise
            return (Message(decoded(message, _ANYTHING, "type")),)
        match told:
            case _Audio():
                return self._heard(told)
            case _SpeechStarted():
                self._cut.append(self._drop())
                return (Clear(),)
            case _Created(response):
                self._said.response = response.id
            case _Done(response):
                return self._done(response, message)
            case _Updated(session):
                return self._updated(session)
            case _Failed(error) if error.code != _TOO_LATE:
                return (Fault(str(error)),)
        return ()

    def _heard(self, told: _Audio) -> bytes | tuple[()]:
        if not self._confirmed:
            raise BadMessage(Slip.BEFORE_START, "audio came before its format was confirmed")
        if len(told.delta) % self._sample:
            raise BadMessage(Slip.HALF_SAMPLE, "audio must be whole samples", INVALID_PAYLOAD)
        if told.response_id in self._dropped or not told.delta:
            return ()
        said = self._said
        said.response = told.response_id
        if not said.items or said.items[-1].id != told.item_id:
            said.items.append(_Item(told.item_id, told.content_index))
        said.items[-1].made += len(told.delta)
        return told.delta

    def _done(self, response: _Response, message: str) -> tuple[Event, ...]:
        self._dropped.discard(response.id)
        if self._said.response == response.id:
            self._said.response = ""
        match response:
            case _Response(status="failed", status_details=_Details(_Error() as error)):
                return (Fault(f"a response failed: {error}"),)
        return (Message(decoded(message, _ANYTHING, "type")),)

    def _updated(self, session: dict[str, Any]) -> tuple[Event, ...]:
        """Compare the formats: a model that fell back on another one would be heard as noise."""
        match session:
            case {
                "audio": {
                    "input": {"format": {"type": sent}},
                    "output": {"format": {"type": played}},
                }
            }:
                said = {"input": sent, "output": played}
            case _:
                said = {}
        wanted = {way: form["type"] for way, form in self._formats.items()}
        if said != wanted:
            reason = f"the model's formats are {said}, not {wanted}"
            raise BadMessage(Slip.FORMAT, reason, UNSUPPORTED_DATA)
        if self._confirmed:
            return ()
        self._confirmed = True
        return (Start(*self._swapped, stream_id=str(session.get("id", "")), said=session),)
