"""Plivo's audio streaming: what is its own, beside test_media.py."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import (
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Format,
    Mark,
    Start,
    Stop,
)
from service.dialects.plivo import Provider, Service

ULAW, PCM = Format("ulaw", 8000), Format("pcm16", 8000)
START: dict[str, Any] = {
    "sequenceNumber": 0,
    "event": "start",
    "start": {
        "callId": "c9",
        "streamId": "s8",
        "accountId": "a7",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    },
    "extra_headers": "from=+4930111;shop=7",
}


def service(**said: Any) -> tuple[Service, Start]:
    half = Service({})
    [start] = half.hear(json.dumps(START | said))
    assert isinstance(start, Start)
    return half, start


def test_a_call_of_plivo_is_heard() -> None:
    half, start = service()
    numbered = {"sequenceNumber": 1, "streamId": "s8", "extra_headers": "{}"}
    audio = {"track": "inbound", "timestamp": "1700000000000", "chunk": 1, "payload": "f39/fw=="}
    digit = {"track": "inbound", "digit": "5", "timestamp": "1700000000000"}
    heard = [half.hear(json.dumps(message)) for message in (
        {"event": "media", **numbered, "media": audio},
        {"event": "playedStream", **numbered, "name": "hello"},
        {"event": "played", "streamId": "s8", "name": "hello"},
        {"event": "clearedAudio", **numbered},
        {"event": "dtmf", **numbered, "dtmf": digit},
        {"event": "stop"},
    )]  # fmt: skip
    parameters = {"from": "+4930111", "shop": "7"}
    assert start == Start(ULAW, ULAW, "s8", "c9", "+4930111", "", parameters, START)
    marked = (Mark("hello"),)
    expected = [b"\x7f\x7f\x7f\x7f", marked, marked, (Cleared(),), (Digits("5"),), (Stop(),)]
    assert heard == expected


def test_the_service_says_what_plivo_takes() -> None:
    half, _ = service()
    said = [half.audio(b"\x7f\x7f\x7f\x7f"), *half.say(Mark("x")), *half.say(Clear()),
            *half.say(Digits("1234#"))]  # fmt: skip
    inside = {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": "f39/fw=="}
    assert [json.loads(message) for message in said] == [
        {"event": "playAudio", "media": inside},
        {"event": "checkpoint", "streamId": "s8", "name": "x"},
        {"event": "clearAudio", "streamId": "s8"},
        {"event": "sendDTMF", "dtmf": "1234#"},
    ]


def test_the_provider_says_what_plivo_says() -> None:
    start = Start(PCM, PCM, "s8", "c9", "+4930111", parameters={"shop": "7"})
    half = Provider(start)
    said = [*half.say(start), half.audio(bytes(320)), half.audio(bytes(2)), *half.say(Digits("5")),
            *half.say(Mark("x")), *half.say(Cleared())]  # fmt: skip
    began, *told = [json.loads(message) for message in said]
    assert began.keys() == START.keys()
    assert began["start"].keys() == START["start"].keys()
    assert json.loads(began["extra_headers"]) == {"From": "+4930111", "shop": "7"}
    assert [message["sequenceNumber"] for message in (began, *told)] == [0, 1, 2, 3, 4, 5]
    assert {message["streamId"] for message in told} == {"s8"}
    assert [(each["media"]["chunk"], each["media"]["timestamp"]) for each in told[:2]] == [
        (1, "0"), (2, "20")]  # fmt: skip
    assert told[2]["dtmf"] == {"track": "inbound", "digit": "5", "timestamp": "20"}
    assert [message["event"] for message in told[3:]] == ["playedStream", "clearedAudio"]
    assert half.say(Stop()) == ()


@given(digits=st.text("0123456789*#ABCD", min_size=1))
def test_plivo_presses_keys(digits: str) -> None:
    half, start = service()
    assert [Provider(start).hear(said) for said in half.say(Digits(digits))] == [(Digits(digits),)]


@pytest.mark.parametrize(("headers", "parameters"), [
    ("{}", {}), ("", {}), (None, {}), (7, {}), ("nothing", {}), ("[]", {}),
    ("userId=12345;sessionId=abc-xyz", {"userId": "12345", "sessionId": "abc-xyz"}),
    ("a=1,b=2", {"a": "1", "b": "2"}),
    ("{X-PH-a: 1, X-PH-b: 2}", {"X-PH-a": "1", "X-PH-b": "2"}),
    ('{"a": "x=1,y", "b": 2}', {"a": "x=1,y", "b": "2"}),
    ("a=b=c", {"a": "b=c"}),
])  # fmt: skip
def test_extra_headers_are_parameters(headers: Any, parameters: dict[str, str]) -> None:
    assert service(extra_headers=headers)[1].parameters == parameters


@pytest.mark.parametrize(("format_", "heard"), [
    ({}, PCM), ({"encoding": "audio/x-mulaw"}, ULAW),
    ({"sampleRate": 16000}, Format("pcm16", 16000)),
])  # fmt: skip
def test_a_format_without_its_members_is_the_default(format_: Any, heard: Format) -> None:
    start = {**START["start"], "mediaFormat": format_}
    assert service(start=start)[1].heard == heard
    del start["mediaFormat"]
    assert service(start=start)[1].played == PCM


def test_audio_that_cannot_be_carried_ends_the_call() -> None:
    start = {**START["start"], "mediaFormat": {"encoding": "audio/opus", "sampleRate": 48000}}
    with pytest.raises(
        BadMessage, match="opus cannot be carried, only audio/x-l16, audio/x-mulaw"
    ) as bad:
        service(start=start)
    assert (bad.value.slip, bad.value.code) == ("format", 1003)


@pytest.mark.parametrize("message", [
    {"event": "playedStream"}, {"event": "playedStream", "name": 1}, {"event": "dtmf", "dtmf": "5"},
])  # fmt: skip
def test_a_bad_member_is_skipped(message: Any) -> None:
    with pytest.raises(BadMessage) as bad:
        service()[0].hear(json.dumps({**message, "streamId": "s8"}))
    assert (bad.value.slip, bad.value.code) == ("bad_event", None)


@pytest.mark.parametrize(("message", "slip"), [
    ({"event": "checkpoint", "streamId": "s7", "name": "x"}, "wrong_stream"),
    ({"event": "clearAudio", "streamId": "s7"}, "wrong_stream"),
    ({"event": "checkpoint", "streamId": "s8"}, "bad_event"),
    ({"event": "sendDTMF", "dtmf": "1w"}, "bad_event"),
    ({"event": "media", "media": {"payload": "f39/fw=="}}, "unknown_event"),
])  # fmt: skip
def test_plivo_skips_what_it_does_not_take(message: Any, slip: str) -> None:
    with pytest.raises(BadMessage) as bad:
        Provider(Start(ULAW, ULAW, "s8")).hear(json.dumps(message))
    assert (bad.value.slip, bad.value.code) == (slip, None)
