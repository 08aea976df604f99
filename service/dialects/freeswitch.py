"""mod_audio_stream of FreeSWITCH, at /ws/freeswitch: binary audio from it, JSON text to it.

Source: README and `audio_streamer_glue.cpp` of amigniter/mod_audio_stream, and calls from a real
one. The stream has no start message. It may begin with text, the metadata of
`uuid_audio_stream ... start`; where the metadata are a JSON object, `from`, `to` and `uuid` in it
say who calls whom. But the module may send audio first, and the metadata later or never, so the
URL's query should say it. The query also has the rate, `?sample_rate=16000`, 8000 without. The mix
type must be `mono` or `mixed`: two channels of `stereo` would be heard as one, as noise of double
length.

Audio goes back as `streamAudio`, which every edition takes. The closed ones play it as it comes.
The open one writes each message to a file, and leaves the playing to the dialplan's application.
None of them has marks, or drops audio that it has.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any

from service.dialects.events import BadMessage, Event, Format, Message, Slip, Start
from service.dialects.half import Dialect
from service.dialects.linear import alike, linear, whole
from service.dialects.text import anything, encoded, strings, with_known
from service.ending import INVALID_PAYLOAD

#: What it can send, and play as `raw`.
_RATES = (8000, 16000, 24000, 32000, 48000)


class Service:
    """The service's half. A message of text is any JSON, or else the text itself.

    A handler's messages reach the dialplan's application as `mod_audio_stream::json` events.
    """

    marks = clears = False

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self._begun = False
        self._before = ""

    def hear(self, message: bytes | str) -> bytes | tuple[bytes | Event, ...]:
        if isinstance(message, bytes):
            audio = whole(message)
            return audio if self._begun else (self._start({}), audio)
        told = anything(message)
        if self._begun:
            return (Message(told, len(message)),)
        return (self._start(told if isinstance(told, dict) else {"metadata": told}),)

    def audio(self, audio: bytes) -> str:
        return f'{self._before}{b2a_base64(audio, newline=False).decode()}"}}}}'

    def say(self, event: Event) -> Sequence[str]:
        return _said(event)

    def _start(self, metadata: dict[str, Any]) -> Start:
        audio = linear(self._query.get("sample_rate", "8000"), _RATES)
        self._begun = True
        self._before = (
            '{"type":"streamAudio","data":'
            f'{{"audioDataType":"raw","sampleRate":{audio.rate},"audioData":"'
        )
        parameters = {**self._query, **strings(metadata)}
        call_id, from_, to = (parameters.get(name, "") for name in ("uuid", "from", "to"))
        return Start(audio, audio, "", call_id, from_, to, parameters, metadata)


class Provider:
    """The module's half, which hangs up by closing; ValueError if not for linear PCM.

    It begins with metadata only where there are any. The URL that it dials must have the rate.
    """

    marks = clears = False

    def __init__(self, start: Start) -> None:
        self._rate = linear(alike(start).rate, _RATES).rate

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            return whole(message)  # as the closed editions take it
        match told := anything(message):
            case {"type": "streamAudio", "data": data}:
                return self._decoded(data)
        return (Message(told),)

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start(call_id=call_id, from_=from_, to=to, parameters=parameters):
                known = {"uuid": call_id, "from": from_, "to": to}
                metadata = with_known(parameters, known)
                return (encoded(metadata),) if metadata else ()
        return _said(event)

    def _decoded(self, data: object) -> bytes:
        match data:
            case {"audioDataType": "raw", "sampleRate": rate, "audioData": str(text)} if (
                rate == self._rate
            ):
                try:
                    return whole(a2b_base64(text, strict_mode=True))
                except ValueError as error:
                    raise BadMessage(Slip.BAD_BASE64, str(error), INVALID_PAYLOAD) from None
        raise BadMessage(Slip.BAD_EVENT, "streamAudio must be raw, at the rate of the stream")


def _said(event: Event) -> Sequence[str]:
    match event:
        case Message(data):
            return (json.dumps(data, allow_nan=False),)
    return ()


# What was sent is heard, whatever the handler clears: so little is sent ahead.
DIALECT = Dialect(
    "freeswitch",
    Service,
    Provider,
    lead_seconds=0.1,
    query=lambda audio: {"sample_rate": str(audio.rate)},
    formats=tuple(Format("pcm16", rate) for rate in _RATES),
)
