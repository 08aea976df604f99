"""What the dialects of Twilio's shape share, half against half: `FORMATS` has the dialects."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects import exotel, plivo, telnyx, twilio
from service.dialects.events import (
    BadMessage,
    Clear,
    Digits,
    Event,
    Flow,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.half import Dialect, Half

ULAW, ALAW = Format("ulaw", 8000), Format("alaw", 8000)
PCM8, PCM16, PCM24 = (Format("pcm16", rate) for rate in (8000, 16000, 24000))
FORMATS: dict[Dialect, Sequence[Format]] = {
    twilio.DIALECT: [ULAW],
    exotel.DIALECT: [PCM24],
    telnyx.DIALECT: [ALAW, PCM16],
    plivo.DIALECT: [PCM8],
}
EACH = [(dialect, format_) for dialect, formats in FORMATS.items() for format_ in formats]
#: What the URL's query says, where the start does not say what the peer plays.
CODECS = {"ulaw": "PCMU", "alaw": "PCMA", "pcm16": "L16"}
KEYS = "0123456789*#ABCD"

each = pytest.mark.parametrize(
    ("dialect", "format_"), EACH, ids=[f"{d.name}-{f.encoding}-{f.rate}" for d, f in EACH]
)


def started(dialect: Dialect, format_: Format, **said: Any) -> tuple[Half, Half, Start]:
    """Return both halves after the start, and what the service heard of it."""
    start = Start(format_, format_, **{"stream_id": "S1", "call_id": "C1"} | said)
    codec, rate = CODECS[format_.encoding], str(format_.rate)
    query = {"stream_bidirectional_codec": codec, "stream_bidirectional_sampling_rate": rate}
    peer, service = dialect.peer(start), dialect.service(query)
    [heard] = [event for message in peer.say(start) for event in service.hear(message)]
    assert isinstance(heard, Start)
    return peer, service, heard


def heard(half: Half, messages: Sequence[bytes | str]) -> list[bytes | Event]:
    """Return what a half hears, with neighbouring audio and neighbouring digits joined."""
    joined: list[bytes | Event] = []
    for message in messages:
        told = half.hear(message)
        for each in (told,) if isinstance(told, bytes) else told:
            match joined[-1:], each:
                case [bytes(before)], bytes(audio):
                    joined[-1] = before + audio
                case [Digits(before)], Digits(digits):
                    joined[-1] = Digits(before + digits)
                case _:
                    joined.append(each)
    return joined


def said(half: Half, told: Sequence[bytes | Event]) -> list[bytes | str]:
    return [
        message
        for each in told
        for message in ((half.audio(each),) if isinstance(each, bytes) else half.say(each))
    ]


def joined(told: Sequence[bytes | Event]) -> list[bytes | Event]:
    """Return what is told as `heard` returns it."""

    class Same:
        def hear(self, message: Any) -> Any:
            return message if isinstance(message, bytes) else (message,)

    return heard(Same(), told)  # type: ignore[arg-type]


AUDIO = st.binary(min_size=1, max_size=400).map(lambda half: half + half)
MARKS = st.builds(Mark, st.text())
DIGITS = st.builds(Digits, st.text(KEYS, min_size=1))


@each
@given(parameters=st.dictionaries(st.text("abcxyz-09", min_size=1), st.text("abcxyz-09")))
def test_the_service_hears_the_start(
    dialect: Dialect, format_: Format, parameters: dict[str, str]
) -> None:
    _, _, start = started(dialect, format_, from_="+1", to="+2", parameters=parameters)
    assert (start.heard, start.played) == (format_, format_)
    assert (start.stream_id, start.call_id, start.from_, start.to) == ("S1", "C1", "+1", "+2")
    assert parameters.items() <= start.parameters.items()
    assert start.said["event"] == "start"


@each
@given(told=st.lists(AUDIO | MARKS | DIGITS))
def test_the_service_hears_what_the_provider_says(
    dialect: Dialect, format_: Format, told: list[bytes | Event]
) -> None:
    peer, service, _ = started(dialect, format_)
    if dialect is not plivo.DIALECT:  # Plivo only closes
        told.append(Stop())
    assert heard(service, said(peer, told)) == joined(told)


@each
@given(told=st.lists(AUDIO | MARKS | st.just(Clear())), stream_id=st.text())
def test_the_provider_hears_what_the_service_says(
    dialect: Dialect, format_: Format, told: list[bytes | Event], stream_id: str
) -> None:
    peer, service, _ = started(dialect, format_, stream_id=stream_id)
    assert heard(peer, said(service, told)) == joined(told)


@each
def test_there_is_no_word_for_some_events(dialect: Dialect, format_: Format) -> None:
    peer, service, start = started(dialect, format_)
    assert [service.say(each) for each in (Stop(), Flow(open=True), Message(1), start)] == [()] * 4
    assert [peer.say(each) for each in (Clear(), Flow(open=True), Message(1))] == [()] * 3


@each
def test_a_peer_says_when_it_has_played_and_drops_audio(dialect: Dialect, format_: Format) -> None:
    peer, service, _ = started(dialect, format_)
    assert (service.marks, service.clears, peer.marks, peer.clears) == (True, True, False, False)


def _with(pattern: str, other: str) -> Any:
    return lambda message: re.sub(pattern, other, str(message), count=1)


@each
@pytest.mark.parametrize(("change", "slip", "code"), [
    (lambda message: str(message).encode(), "kind", 1003),
    (lambda message: str(message)[:-1], "not_json", 1007),
    (lambda message: "hello", "not_json", 1007),
    (lambda message: "\ufeff" + str(message), "not_json", 1007),
    (lambda message: '{"event":"media","more":' + "[" * 2**20, "not_json", 1007),
    (lambda message: '{"event":"other","more":' + "[" * 2**20, "not_json", 1007),
    (_with('"payload":"', '"payload":"?'), "bad_base64", 1007),
    (_with('"payload":"', '"payload":1,"was":"'), "bad_event", None),
    (_with('"payload"', '"pay"'), "bad_event", None),
    (_with('"media":{', '"other":{'), "bad_event", None),
    (lambda message: "[]", "bad_event", None),
    (lambda message: "{}", "bad_event", None),
    (lambda message: '{"event":null}', "bad_event", None),
    (_with('"event":"[a-zA-Z]+"', '"event":"whisper"'), "unknown_event", None),
    (lambda message: '{"event":"whisper","event":["mark"]}', "unknown_event", None),
    (_with("S1", "S2"), "wrong_stream", None),
])  # fmt: skip
def test_a_bad_message_is_skipped_or_ends_the_call(
    dialect: Dialect, format_: Format, change: Any, slip: str, code: int | None
) -> None:
    peer, service, _ = started(dialect, format_)
    good, bad = peer.audio(b"\1\2"), change(peer.audio(b"\3\4"))
    assert service.hear(good) == b"\1\2"
    with pytest.raises(BadMessage) as raised:
        service.hear(bad)
    assert (raised.value.slip, raised.value.code) == (slip, code)


@each
def test_before_the_start_there_is_no_audio_and_no_event(dialect: Dialect, format_: Format) -> None:
    start = Start(format_, format_, stream_id="S1")
    peer, service = dialect.peer(start), dialect.service({})
    for message in said(peer, [b"\1\2", Mark("x"), Digits("1"), Stop()]):
        with pytest.raises(BadMessage) as raised:
            service.hear(message)
        assert (raised.value.slip, raised.value.code) == ("before_start", None)
    assert service.hear(peer.say(start)[-1]) != ()


@each
def test_a_stream_starts_once(dialect: Dialect, format_: Format) -> None:
    peer, service, start = started(dialect, format_)
    with pytest.raises(BadMessage) as raised:
        service.hear(peer.say(start)[-1])
    assert (raised.value.slip, raised.value.code) == ("second_start", None)
    assert service.hear(peer.audio(b"\1\2")) == b"\1\2"


@each
def test_half_a_sample_ends_the_call(dialect: Dialect, format_: Format) -> None:
    peer, service, _ = started(dialect, format_)
    if format_.encoding != "pcm16":
        assert service.hear(peer.audio(b"\1")) == b"\1"
        return
    for half, other in ((service, peer), (peer, service)):
        with pytest.raises(BadMessage) as raised:
            half.hear(other.audio(b"\1"))
        assert (raised.value.slip, raised.value.code) == ("half_sample", 1007)


@each
def test_the_other_track_is_passed_over(dialect: Dialect, format_: Format) -> None:
    peer, service, _ = started(dialect, format_)
    message = str(peer.audio(b"\1\2")).replace('"payload"', '"track":"outbound","payload"')
    assert service.hear(message) == ()


EVENTS = st.sampled_from(["start", "media", "mark", "dtmf", "stop", "clear"])
MEMBERS = st.sampled_from(["name", "digit", "payload", "track"])
INSIDE = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda each: st.lists(each) | st.dictionaries(MEMBERS, each),
    max_leaves=5,
)


@each
@given(event=EVENTS, inside=INSIDE)
def test_any_message_is_heard_or_bad(
    dialect: Dialect, format_: Format, event: str, inside: object
) -> None:
    peer, service, _ = started(dialect, format_)
    ids = dict.fromkeys(("streamSid", "stream_sid", "stream_id", "streamId"), "S1")
    for half in (peer, service, dialect.service({})):
        with suppress(BadMessage):
            half.hear(json.dumps({"event": event, event: inside, **ids}))
