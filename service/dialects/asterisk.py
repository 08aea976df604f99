"""chan_websocket of Asterisk, at /ws/asterisk: binary audio, and control messages of text.

Sources: docs.asterisk.org, "Channel Drivers: WebSocket", and `channels/chan_websocket.c`. The
control messages are JSON, or plain text in older versions and by default; the first of them,
MEDIA_START, tells which. Linear PCM is in the byte order of the machine that runs Asterisk: that
is little-endian on all that it is used on today.

Asterisk plays our audio by its own clock, in frames of 20 ms, and drops what does not fill one.
Its audio may come before MEDIA_START (asterisk/asterisk#1712), stops while the far side is silent,
and may end in half a frame.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.audio.encodings import BYTES_PER_SAMPLE
from service.dialects.events import (
    DIGITS,
    Alive,
    BadMessage,
    Clear,
    Digits,
    Event,
    Fault,
    Flow,
    Format,
    Mark,
    Slip,
    Start,
    Stop,
    before_start,
    second_start,
)
from service.dialects.half import Dialect
from service.dialects.linear import Joiner, refused
from service.dialects.marks import Marks
from service.dialects.text import encoded, strings, told, with_known

_FORMATS = {
    "ulaw": Format("ulaw", 8000),
    "alaw": Format("alaw", 8000),
    "slin": Format("pcm16", 8000),
    "slin12": Format("pcm16", 12000),
    "slin16": Format("pcm16", 16000),
    "slin24": Format("pcm16", 24000),
    "slin32": Format("pcm16", 32000),
    "slin44": Format("pcm16", 44100),
    "slin48": Format("pcm16", 48000),
}
_NAMES = {format_: name for name, format_ in _FORMATS.items()}
#: Of the audio before MEDIA_START so many seconds are kept, the latest.
_EARLY_SECONDS = 2
_MOST_EARLY_BYTES = _EARLY_SECONDS * 48000 * 2
#: Asterisk passes over a longer command.
_MOST_COMMAND_BYTES = 128
#: What Asterisk says when it is asked, or of what we do not do.
_PASSED_OVER = ("STATUS", "QUEUE_DRAINED", "MEDIA_BUFFERING_COMPLETED")
#: What Asterisk can be told, and a service of ours never says.
_UNUSED = (
    "ANSWER", "START_MEDIA_BUFFERING", "STOP_MEDIA_BUFFERING", "REPORT_QUEUE_DRAINED",
    "PAUSE_MEDIA", "CONTINUE_MEDIA", "SET_MEDIA_DIRECTION",
)  # fmt: skip


class Service:
    """The service's half.

    `from_` and `to` are the parameters of these names: of the URL, as the option `v()` of the dial
    string adds them, or variables of the channel, which Asterisk tells in JSON alone.
    """

    def __init__(self, query: Mapping[str, str]) -> None:
        self.marks = self.clears = True
        self._query = query
        self._json = False
        self._joiner: Joiner | None = None
        self._early = bytearray()
        self._marks = Marks()

    def hear(self, message: bytes | str) -> bytes | tuple[bytes | Event, ...]:
        if isinstance(message, bytes):
            return self._keep(message) if self._joiner is None else self._joiner.whole(message)
        if self._joiner is None:
            self._json = message.startswith("{")
        heard = told(message) if self._json else _read(message)
        match heard:
            case {"event": "MEDIA_START", "format": str(name)}:
                return self._start(name, heard)
            case _ if self._joiner is None:
                raise before_start()
            case {"event": "MEDIA_MARK_PROCESSED", "correlation_id": str(name)}:
                return self._marks.heard(name)
            case {"event": "DTMF_END", "digit": str(digit)} if digit in DIGITS:
                return (Digits(digit),)
            case {"event": "MEDIA_XOFF" | "MEDIA_XON" as event}:
                return (Flow(open=event == "MEDIA_XON"),)
            case {"event": "ERROR", "error_text": str(text)}:
                self._give_up(text)
                return (Fault(text),)
            case {"event": str(event)} if event in _PASSED_OVER:
                return ()
            case {"event": "MEDIA_START" | "MEDIA_MARK_PROCESSED" | "DTMF_END" | "ERROR" as event}:
                raise BadMessage(Slip.BAD_EVENT, f"{event} has a wrong member")
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown event")

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Mark(name) if self.marks:
                sent = self._marks.set(name)
                return () if sent is None else (self._command("MARK_MEDIA", sent),)
            case Clear() if self.clears:
                return (self._command("FLUSH_MEDIA"),)
            case Alive():
                return (self._command("GET_STATUS"),)
            case Stop():
                return (self._command("HANGUP"),)
        return ()

    def _command(self, command: str, correlation_id: str = "") -> str:
        if not self._json:
            return f"{command} {correlation_id}" if correlation_id else command
        with_id = {"correlation_id": correlation_id} if correlation_id else {}
        return encoded({"command": command, **with_id})

    def _keep(self, audio: bytes) -> tuple[()]:
        self._early += audio
        _cut(self._early, _MOST_EARLY_BYTES)
        return ()

    def _start(self, name: str, heard: dict[str, Any]) -> tuple[bytes | Event, ...]:
        if self._joiner is not None:
            raise second_start()
        audio = _FORMATS.get(name)
        if audio is None:
            raise refused(f"the format {name[:20]}", _FORMATS)
        # `ptime` came with MARK_MEDIA, in 20.18, 22.8 and 23.2. Versions before them pass over it.
        self.marks = "ptime" in heard
        variables = heard.get("channel_variables")
        parameters = {**self._query, **strings(variables if isinstance(variables, dict) else {})}
        start = Start(
            audio,
            audio,
            stream_id=str(heard.get("connection_id", "")),
            call_id=str(heard.get("channel_id", "")),
            from_=parameters.get("from", ""),
            to=parameters.get("to", ""),
            parameters=parameters,
            said=heard,
        )
        size = BYTES_PER_SAMPLE[audio.encoding]
        self._joiner = Joiner(size)
        _cut(self._early, _EARLY_SECONDS * audio.rate * size)
        early = self._joiner.whole(bytes(self._early))
        self._early.clear()
        return (start, early) if early else (start,)

    def _give_up(self, error: str) -> None:
        """Take note of what the channel cannot do, as in passthrough mode: the error says it."""
        if error.startswith("MARK_MEDIA not supported"):
            self.marks = False
        elif error.startswith("FLUSH_MEDIA not supported"):
            self.clears = False


class Provider:
    """Asterisk's half. It hangs up by closing; ValueError for a format that Asterisk has not.

    In plain text it has no word for parameters.
    """

    marks = clears = False

    def __init__(self, start: Start, *, json: bool = True) -> None:
        if start.heard != start.played or start.heard not in _NAMES:
            raise ValueError(f"Asterisk has no {start.heard}, or not both ways")
        self._json = json
        self._format = start.heard
        self._channel_id = start.call_id

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            return message
        if len(message.encode()) > _MOST_COMMAND_BYTES:
            raise BadMessage(Slip.BAD_EVENT, f"a command has {_MOST_COMMAND_BYTES} bytes at most")
        if self._json:
            heard = told(message)
        else:
            command, _, correlation_id = message.partition(" ")
            heard = {"command": command, "correlation_id": correlation_id}
        match heard:
            case {"command": "MARK_MEDIA", "correlation_id": str(name)}:
                return (Mark(name),)
            case {"command": "FLUSH_MEDIA"}:
                return (Clear(),)
            case {"command": "HANGUP"}:
                return (Stop(),)
            case {"command": "GET_STATUS"}:
                return (Alive(),)
            case {"command": str(command)} if command in _UNUSED:
                return ()
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown command")

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start():
                return (self._begin(event),)
            case Mark(name):
                return (self._event("MEDIA_MARK_PROCESSED", correlation_id=name),)
            case Digits(digits):
                return [self._event("DTMF_END", digit=digit) for digit in digits]
            case Flow(open=is_open):
                return (self._event("MEDIA_XON" if is_open else "MEDIA_XOFF"),)
            case Fault(text):
                return (self._event("ERROR", error_text=text),)
            case Alive():
                return (self._event("STATUS", queue_length=0),)
        return ()

    def _begin(self, start: Start) -> str:
        variables = with_known(start.parameters, {"from": start.from_, "to": start.to})
        return self._event(
            "MEDIA_START",
            connection_id=start.stream_id,
            channel="WebSocket/conn1/0x1",
            format=_NAMES[self._format],
            optimal_frame_size=self._format.rate // 50 * BYTES_PER_SAMPLE[self._format.encoding],
            ptime=20,
            **({"channel_variables": variables} if self._json else {}),
        )

    def _event(self, event: str, **members: object) -> str:
        if self._json:
            return encoded({"event": event, "channel_id": self._channel_id, **members})
        if event == "MEDIA_MARK_PROCESSED":
            return f"{event} {members['correlation_id']}"
        words = {"channel_id": self._channel_id, **members}
        return " ".join([event, *(f"{name}:{word}" for name, word in words.items())])


_WORD = re.compile(r"(\w+):(\S*)")


def _read(text: str) -> dict[str, Any]:
    """Return what a control message in plain text says, as its JSON would have it."""
    event, _, rest = text.partition(" ")
    if event == "MEDIA_MARK_PROCESSED":
        return {"event": event, "correlation_id": rest}
    rest, colon, error = rest.partition("error_text:")
    words = dict(_WORD.findall(rest))
    return {**words, "event": event} | ({"error_text": error} if colon else {})


def _cut(audio: bytearray, size: int) -> None:
    """Leave the end of audio, an even number of bytes from its begin."""
    over = max(len(audio) - size, 0)
    del audio[: over + over % 2]


# Asterisk plays all that it has, late by what was sent ahead, as long as the audio goes on
# (asterisk/asterisk#2115). Three frames are enough for the jitter of two clocks of 20 ms.
# Before 20.18, 22.8 and 23.2 a WebSocket ping hangs up the call (asterisk/asterisk#1722).
DIALECT = Dialect(
    "asterisk",
    Service,
    Provider,
    subprotocols=("media",),
    frame_seconds=0.02,
    lead_seconds=0.06,
    pings=False,
    hangup_causes=True,
    formats=tuple(_NAMES),
)
