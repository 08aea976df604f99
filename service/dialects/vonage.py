"""Vonage Voice, at /ws/vonage: binary audio, and JSON text messages for the rest.

Source: "WebSockets in the Vonage Voice API", developer.vonage.com. Each message of audio to Vonage
must be one frame of 20 ms: it cuts a longer one, and hears a shorter one as silence. The answer
to `notify` brings its payload back, so that a mark's name is the payload here. Vonage says who
calls whom only where the user puts it into the `headers` of the NCCO: as `from`, `to` and `uuid`,
as its own webhooks call them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.dialects.events import (
    DIGITS,
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Format,
    Mark,
    Slip,
    Start,
    before_start,
    second_start,
)
from service.dialects.half import Dialect
from service.dialects.linear import alike, linear, refused, whole
from service.dialects.text import encoded, strings, told, with_known

_CONTENT_TYPE = re.compile(r"audio/l16 *; *rate=(\d{1,9})", re.IGNORECASE)
#: What Vonage says of the call, and nobody here needs.
_PASSED_OVER = ("websocket:media:update", "websocket:disconnected")


class Service:
    """The service's half."""

    marks = clears = True

    def __init__(self, query: Mapping[str, str]) -> None:
        self._begun = False

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            if self._begun:
                return whole(message)
            raise before_start()
        heard = told(message)
        match heard:
            case {"event": "websocket:connected"}:
                return (self._start(heard),)
            case _ if not self._begun:
                raise before_start()
            case {"event": "websocket:notify", "payload": {"mark": str(name)}}:
                return (Mark(name),)
            case {"event": "websocket:cleared"}:
                return (Cleared(),)
            case {"event": "websocket:dtmf", "digit": str(digit)} if digit in DIGITS:
                return (Digits(digit),)
            case {"event": str(event)} if event in _PASSED_OVER:
                return ()
            case {"event": "websocket:notify" | "websocket:dtmf"}:
                raise BadMessage(Slip.BAD_EVENT, "a notify or dtmf message has a wrong member")
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown event")

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Mark(name):
                return (encoded({"action": "notify", "payload": {"mark": name}}),)
            case Clear():
                return (encoded({"action": "clear"}),)
        return ()

    def _start(self, heard: dict[str, Any]) -> Start:
        if self._begun:
            raise second_start()
        content_type = str(heard.get("content-type"))
        rate = _CONTENT_TYPE.fullmatch(content_type)
        if rate is None:
            raise refused(f"the content type {content_type[:40]}", ["audio/l16;rate=..."])
        audio = linear(rate[1])
        self._begun = True
        # Vonage puts the user's headers beside its own two members.
        parameters = strings(heard)
        del parameters["event"], parameters["content-type"]
        return Start(
            audio,
            audio,
            call_id=parameters.get("uuid", ""),
            from_=parameters.get("from", ""),
            to=parameters.get("to", ""),
            parameters=parameters,
            said=heard,
        )


class Provider:
    """Vonage's half, which hangs up by closing the WebSocket; ValueError if not for linear PCM.

    Vonage plays a part of another frame than one of 20 ms; here it is skipped, to be seen.
    """

    marks = clears = False

    def __init__(self, start: Start) -> None:
        rate = alike(start).rate
        self._content_type = f"audio/l16;rate={rate}"
        self._frame_bytes = rate // 50 * 2

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            if len(message) != self._frame_bytes:
                reason = f"Vonage plays {self._frame_bytes} bytes of a frame, not {len(message)}"
                raise BadMessage(Slip.LOST, reason)
            return message
        match told(message):
            case {"action": "notify", "payload": {"mark": str(name)}}:
                return (Mark(name),)
            case {"action": "clear"}:
                return (Clear(),)
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown action")

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start():
                return (encoded(self._connected(event)),)
            case Mark(name):
                return (encoded({"event": "websocket:notify", "payload": {"mark": name}}),)
            case Cleared():
                return (encoded({"event": "websocket:cleared"}),)
            case Digits(digits):
                return [
                    encoded({"event": "websocket:dtmf", "digit": digit, "duration": 260})
                    for digit in digits
                ]
        return ()

    def _connected(self, start: Start) -> dict[str, str]:
        known = {"from": start.from_, "to": start.to, "uuid": start.call_id}
        return {
            **with_known(start.parameters, known),
            "event": "websocket:connected",
            "content-type": self._content_type,
        }


DIALECT = Dialect(
    "vonage",
    Service,
    Provider,
    frame_seconds=0.02,
    formats=(Format("pcm16", 16000), Format("pcm16", 8000), Format("pcm16", 24000)),
)
