"""Exotel's AgentStream: what is its own, beside test_media.py."""

import json
from typing import Any

import pytest

from service.dialects.events import BadMessage, Clear, Digits, Format, Mark, Start, Stop
from service.dialects.exotel import DIALECT, Provider, Service

PCM = Format("pcm16", 16000)
START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "start": {
        "stream_sid": "s8",
        "call_sid": "c9",
        "account_sid": "a7",
        "from": "+4930111",
        "to": "+4930222",
        "custom_parameters": {"shop": "7", "vip": True},
        "media_format": {"encoding": "audio/x-raw", "sample_rate": "16000", "bit_rate": "16"},
    },
    "stream_sid": "s8",
}


def test_a_call_of_exotel_is_heard() -> None:
    half, numbered = Service({}), {"sequence_number": "2", "stream_sid": "s8"}
    heard = [half.hear(json.dumps(message)) for message in (
        {"event": "connected"},
        START,
        {"event": "media", **numbered,
         "media": {"chunk": "1", "timestamp": "100", "payload": "AQL+/w=="}},
        {"event": "mark", **numbered, "mark": {"name": "hello"}},
        {"event": "dtmf", **numbered, "dtmf": {"digit": "5", "duration": "100"}},
        {"event": "stop", **numbered,
         "stop": {"call_sid": "c9", "account_sid": "a7", "reason": "callended"}},
    )]  # fmt: skip
    start = Start(PCM, PCM, "s8", "c9", "+4930111", "+4930222", {"shop": "7", "vip": "true"}, START)
    marked, pressed, stopped = (Mark("hello"),), (Digits("5"),), (Stop(),)
    assert heard == [(), (start,), b"\1\2\xfe\xff", marked, pressed, stopped]


def test_the_service_says_what_exotel_takes() -> None:
    half = Service({})
    half.hear(json.dumps(START))
    said = [half.audio(b"\1\2\xfe\xff"), *half.say(Mark("x")), *half.say(Clear())]
    assert [json.loads(message) for message in said] == [
        {"event": "media", "stream_sid": "s8", "media": {"payload": "AQL+/w=="}},
        {"event": "mark", "stream_sid": "s8", "mark": {"name": "x"}},
        {"event": "clear", "stream_sid": "s8"},
    ]
    assert DIALECT.frame_seconds == 0.1


def test_the_provider_says_what_exotel_says() -> None:
    start = Start(PCM, PCM, "s8", "c9", "+4930111", "+4930222", {"shop": "7"})
    half = Provider(start)
    said = [*half.say(start), half.audio(bytes(3200)), half.audio(bytes(2)), *half.say(Digits("5"))]
    connected, began, *told = [json.loads(message) for message in said]
    assert connected == {"event": "connected"}
    assert began["start"].keys() == START["start"].keys()
    assert began["start"]["media_format"] == START["start"]["media_format"]
    assert (began["sequence_number"], began["stream_sid"]) == ("1", "s8")
    assert told[0]["media"].keys() == {"chunk", "timestamp", "payload"}
    assert [(each["media"]["chunk"], each["media"]["timestamp"]) for each in told[:2]] == [
        ("1", "0"), ("2", "100")]  # fmt: skip
    assert told[2]["dtmf"] == {"digit": "5", "duration": "100"}


def begun(media_format: Any) -> Start:
    start = {**START["start"], "media_format": media_format}
    [event] = Service({}).hear(json.dumps({**START, "start": start}))
    assert isinstance(event, Start)
    return event


def test_older_streams_name_their_encoding_base64() -> None:
    older = {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}
    assert begun(older).heard == Format("pcm16", 8000)


@pytest.mark.parametrize(("encoding", "rate", "slip", "code"), [
    ("opus", "8000", "format", 1003), ("base64", "9000", "format", 1003),
    ("base64", "16kHz", "bad_event", None),
])  # fmt: skip
def test_audio_that_cannot_be_carried_is_refused(
    encoding: str, rate: str, slip: str, code: int | None
) -> None:
    with pytest.raises(BadMessage) as bad:
        begun({"encoding": encoding, "sample_rate": rate})
    assert (bad.value.slip, bad.value.code) == (slip, code)
