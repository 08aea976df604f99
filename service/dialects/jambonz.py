"""The listen verb of jambonz, at /ws/jambonz: binary linear PCM, and JSON text for the rest.

Sources: jambonz.org/docs/webhooks/listen; `mod_audio_fork` in jambonz/freeswitch-modules, which
speaks at the other end; `listen.js` in jambonz/jambonz-feature-server. It plays our binary audio
only with `bidirectionalAudio: {enabled, streaming: true, sampleRate}`, and does not say at which
rate: it must be the `sampleRate` of the verb.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

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
from service.dialects.half import Dialect
from service.dialects.linear import Joiner, alike, linear, refused
from service.dialects.marks import Marks
from service.dialects.text import encoded, strings, told

#: mod_audio_fork drops a mark beyond these.
_MOST_MARKS = 30
#: A sample of -1: it stands for a mark in the audio that waits in mod_audio_fork.
_SIGN = b"\xff\xff"


class Service:
    """The service's half."""

    marks = clears = True

    def __init__(self, query: Mapping[str, str]) -> None:
        self._begun = False
        self._joiner = Joiner()
        self._marks = Marks(_MOST_MARKS)
        self._marked = False  # whether a mark was ever set
        self._cleared = 0

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            if self._begun:
                return self._joiner.whole(message)
            raise before_start()
        heard = told(message)
        match heard:
            case {"sampleRate": _}:
                return (self._start(heard),)
            case _ if not self._begun:
                raise before_start()
            case {"type": "mark", "data": {"name": str(name), "event": "cleared"}}:
                self._cleared += 1
                return self._marks.heard(name)
            case {"type": "mark", "data": {"name": str(name)}}:
                return self._marks.heard(name)
            case {"event": "dtmf", "dtmf": str(digit)} if digit in DIGITS:
                return (Digits(digit),)
            case {"type": "playDone"}:
                return ()
            case {"type": "mark"} | {"event": "dtmf"}:
                raise BadMessage(Slip.BAD_EVENT, "a mark or dtmf message has a wrong member")
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown event")

    def audio(self, audio: bytes) -> bytes:
        if self._marked and _SIGN in audio:
            audio = _without_signs(audio)
        if self._cleared:
            # mod_audio_fork has dropped the signs of these marks, but waits for them before it
            # gives back another mark.
            audio = _SIGN * self._cleared + audio
            self._cleared = 0
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Mark(name):
                self._marked = True
                sent = self._marks.set(name)
                return () if sent is None else (encoded({"type": "mark", "data": {"name": sent}}),)
            case Clear():
                return (encoded({"type": "killAudio"}),)
            case Stop():
                return (encoded({"type": "disconnect"}),)
        return ()

    def _start(self, heard: dict[str, Any]) -> Start:
        if self._begun:
            raise second_start()
        match heard:
            case {"mixType": str(mix)} if mix not in ("mono", "mixed"):
                raise refused(f"the mixType {mix[:20]}", ["mono", "mixed"])
        audio = linear(heard["sampleRate"])
        self._begun = True
        # The user's metadata stand among the attributes of the call.
        customer = heard.get("customerData")
        parameters = strings(heard | (customer if isinstance(customer, dict) else {}))
        call_id, from_, to, *_ = [
            parameters.pop(name, "")
            for name in ("callSid", "from", "to", "sampleRate", "mixType", "customerData")
        ]
        return Start(audio, audio, "", call_id, from_, to, parameters, heard)


class Provider:
    """The half of jambonz, which hangs up by closing; ValueError if not for linear PCM."""

    marks = clears = False

    def __init__(self, start: Start) -> None:
        self._rate = alike(start).rate
        self._joiner = Joiner()
        self._marks: set[str] = set()  # that were not played yet
        self._cleared: set[str] = set()

    def hear(self, message: bytes | str) -> bytes | tuple[Event, ...]:
        if isinstance(message, bytes):
            return self._joiner.whole(message)
        match told(message):
            case {"type": "mark", "data": {"name": str(name)}}:
                self._marks.add(name)
                return (Mark(name),)
            case {"type": "killAudio"}:
                self._cleared |= self._marks
                self._marks.clear()
                return (Clear(),)
            case {"type": "disconnect"}:
                return (Stop(),)
        raise BadMessage(Slip.UNKNOWN_EVENT, "an unknown type")

    def audio(self, audio: bytes) -> bytes:
        return audio

    def say(self, event: Event) -> Sequence[str]:
        match event:
            case Start(call_id=call_id, from_=from_, to=to, parameters=parameters):
                call = {"callSid": call_id, "from": from_, "to": to}
                audio = {"sampleRate": self._rate, "mixType": "mono"}
                return (encoded({**parameters, **call, **audio}),)
            case Mark(name):
                data = {"name": name, "event": "cleared" if name in self._cleared else "playout"}
                self._marks.discard(name)
                self._cleared.discard(name)
                return (encoded({"type": "mark", "data": data}),)
            case Digits(digits):
                return [
                    encoded({"event": "dtmf", "dtmf": digit, "duration": "1600"})
                    for digit in digits
                ]
        return ()


def _without_signs(audio: bytes) -> bytes:
    """Return audio with a sample of 0 for each of -1."""
    return array("h", [sample if sample != -1 else 0 for sample in array("h", audio)]).tobytes()


DIALECT = Dialect(
    "jambonz",
    Service,
    Provider,
    subprotocols=("audio.jambonz.org", "audio.drachtio.org"),
    returns_marks=True,
    formats=tuple(Format("pcm16", rate) for rate in (8000, 16000, 24000, 48000)),
)
