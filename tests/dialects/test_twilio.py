"""Twilio Media Streams: what is its own, beside test_media.py."""

import json
from typing import Any

import pytest

from service.dialects.events import BadMessage, Clear, Cleared, Digits, Format, Mark, Start, Stop
from service.dialects.twilio import DIALECT, Provider, Service

ULAW = Format("ulaw", 8000)
START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC7",
        "streamSid": "MZ8",
        "callSid": "CA9",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"From": "+4930111", "to": "+4930222", "shop": "7"},
    },
    "streamSid": "MZ8",
}  # fmt: skip


def service() -> Service:
    half = Service({})
    half.hear(json.dumps(START))
    return half


def test_a_call_of_twilio_is_heard() -> None:
    half, numbered = Service({}), {"sequenceNumber": "2", "streamSid": "MZ8"}
    audio = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": "f39/fw=="}
    heard = [half.hear(json.dumps(message)) for message in (
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        START,
        {"event": "media", **numbered, "media": audio},
        {"event": "mark", **numbered, "mark": {"name": "hello"}},
        {"event": "dtmf", **numbered, "dtmf": {"track": "inbound_track", "digit": "#"}},
        {"event": "stop", **numbered, "stop": {"accountSid": "AC7", "callSid": "CA9"}},
    )]  # fmt: skip
    assert heard == [
        (),
        (
            Start(
                heard=ULAW,
                played=ULAW,
                stream_id="MZ8",
                call_id="CA9",
                from_="+4930111",
                to="+4930222",
                parameters=START["start"]["customParameters"],
                said=START,
            ),
        ),
        b"\x7f\x7f\x7f\x7f",
        (Mark("hello"),),
        (Digits("#"),),
        (Stop(),),
    ]


def test_a_call_may_begin_without_connected() -> None:
    assert service().hear(json.dumps({"event": "stop", "streamSid": "MZ8"})) == (Stop(),)


def test_the_service_says_what_twilio_takes() -> None:
    half = service()
    said = [half.audio(b"\x7f\x7f\x7f\x7f"), *half.say(Mark('"')), *half.say(Clear())]
    assert [json.loads(message) for message in said] == [
        {"event": "media", "streamSid": "MZ8", "media": {"payload": "f39/fw=="}},
        {"event": "mark", "streamSid": "MZ8", "mark": {"name": '"'}},
        {"event": "clear", "streamSid": "MZ8"},
    ]
    assert half.say(Digits("1")) == ()


def test_the_provider_says_what_twilio_says() -> None:
    start = Start(ULAW, ULAW, "MZ8", "CA9", from_="+1", parameters={"shop": "7"})
    half = Provider(start)
    assert half.say(Cleared()) == ()
    said = [*half.say(start), half.audio(bytes(160)), half.audio(bytes(80)), half.audio(b"1"),
            *half.say(Digits("12")), *half.say(Mark("x")), *half.say(Stop())]  # fmt: skip
    connected, began, *told = [json.loads(message) for message in said]
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert began["start"]["customParameters"] == {"From": "+1", "shop": "7"}
    assert began["start"]["mediaFormat"] == START["start"]["mediaFormat"]
    assert began.keys() == START.keys()
    assert began["start"].keys() == START["start"].keys()
    assert [message["sequenceNumber"] for message in (began, *told)] == list("12345678")
    assert {message["streamSid"] for message in told} == {"MZ8"}
    assert [(each["media"]["chunk"], each["media"]["timestamp"]) for each in told[:3]] == [
        ("1", "0"), ("2", "20"), ("3", "30")]  # fmt: skip
    assert [message.get(message["event"]) for message in told[3:]] == [
        {"track": "inbound_track", "digit": "1"}, {"track": "inbound_track", "digit": "2"},
        {"name": "x"}, {"accountSid": f"AC{'0' * 32}", "callSid": "CA9"}]  # fmt: skip


@pytest.mark.parametrize(("format_", "reason"), [
    ({"encoding": "audio/x-l16", "sampleRate": 8000, "channels": 1},
     "an encoding of audio/x-l16 cannot be carried, only audio/x-mulaw"),
    ({"encoding": "audio/x-mulaw", "sampleRate": 8001, "channels": 1},
     "a sample rate of 8001 cannot be carried, only 8000, 11025, 12000, 16000, 22050, 24000,"
     " 32000, 44100, 48000"),
    ({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2},
     "audio of 2 channels cannot be carried, only 1"),
])  # fmt: skip
def test_audio_that_cannot_be_carried_ends_the_call(format_: Any, reason: str) -> None:
    with pytest.raises(BadMessage) as bad:
        Service({}).hear(json.dumps({**START, "start": {**START["start"], "mediaFormat": format_}}))
    assert (bad.value.slip, str(bad.value), bad.value.code) == ("format", reason, 1003)


@pytest.mark.parametrize("message", [
    {**START, "start": None}, {**START, "start": {}}, {"event": "start"},
    {"event": "dtmf", "dtmf": {"digit": "E"}}, {"event": "dtmf", "dtmf": {"digit": "12"}},
    {"event": "dtmf"}, {"event": "mark"}, {"event": "mark", "mark": {"name": 1}},
])  # fmt: skip
def test_a_bad_member_is_skipped(message: Any) -> None:
    half = Service({})
    if message["event"] != "start":
        half.hear(json.dumps(START))
    with pytest.raises(BadMessage) as bad:
        half.hear(json.dumps({**message, "streamSid": "MZ8"}))
    assert (bad.value.slip, bad.value.code) == ("bad_event", None)


@pytest.mark.parametrize("message", [
    {"event": "media", "media": {"payload": "f38="}}, {"event": "clear"},
    {"event": "mark", "mark": {"name": "x"}},
])  # fmt: skip
def test_twilio_takes_no_message_without_its_stream(message: Any) -> None:
    half = Provider(Start(ULAW, ULAW, "MZ8"))
    assert half.hear(json.dumps({**message, "streamSid": "MZ8"}))
    for other in ({}, {"streamSid": "MZ7"}):
        with pytest.raises(BadMessage) as bad:
            half.hear(json.dumps({**message, **other}))
        assert bad.value.slip == "wrong_stream"


@pytest.mark.parametrize("start", [
    Start(Format("pcm16", 8000), ULAW), Start(ULAW, Format("alaw", 8000)),
])  # fmt: skip
def test_the_provider_has_only_twilios_audio(start: Start) -> None:
    with pytest.raises(ValueError, match="only audio/x-mulaw"):
        DIALECT.peer(start)
