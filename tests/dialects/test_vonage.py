"""Vonage's messages and ours, at /ws/vonage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import (
    Clear,
    Cleared,
    Digits,
    Event,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.vonage import DIALECT
from tests.dialects.halves import DIGITS, LINEAR, heard, passed_on, slip

L16 = Format("pcm16", 16000)
CONNECTED = {"event": "websocket:connected", "content-type": "audio/l16;rate=16000"}
START = Start(L16, L16, "", "c-1", "447700900001", "447700900002", {"tries": "2"})


def started(**members: Any) -> Any:
    half = DIALECT.service({})
    half.hear(json.dumps(CONNECTED | members))
    return half


def test_a_call_from_begin_to_end() -> None:
    half = DIALECT.service({})
    connected = {**CONNECTED, "from": "44", "to": "45", "uuid": "u", "tries": 2, "tags": ["a"]}
    assert heard(half, [json.dumps(connected)]) == [
        Start(
            L16, L16, "", "u", "44", "45",
            {"from": "44", "to": "45", "uuid": "u", "tries": "2", "tags": '["a"]'}, connected,
        )
    ]  # fmt: skip
    frame = bytes(640)
    assert half.hear(frame) is frame is half.audio(frame)
    assert [json.loads(text) for event in (Mark("m"), Clear()) for text in half.say(event)] == [
        {"action": "notify", "payload": {"mark": "m"}},
        {"action": "clear"},
    ]
    assert heard(half, [
        '{"event":"websocket:dtmf","digit":"5","duration":260}',
        ' {"event":"websocket:notify","payload":{"mark":"m"}}',
        '{"event":"websocket:cleared"}',
        '{"event":"websocket:media:update","active":false}',
    ]) == [Digits("5"), Mark("m"), Cleared(None)]  # fmt: skip
    assert half.say(Stop()) == half.say(Message(1)) == half.say(Digits("1")) == ()


@pytest.mark.parametrize(("content_type", "rate"), [
    ("audio/l16;rate=8000", 8000), ("audio/L16; rate=24000", 24000),
])  # fmt: skip
def test_the_content_type_tells_the_rate(content_type: str, rate: int) -> None:
    half = DIALECT.service({})
    [start] = heard(half, [json.dumps(CONNECTED | {"content-type": content_type})])
    assert isinstance(start, Start)
    assert start.heard == start.played == Format("pcm16", rate)
    assert start.parameters == {}


@pytest.mark.parametrize("content_type", [
    None, 5, "", "audio/l16", "audio/opus;rate=16000", "audio/l16;rate=9600",
    "audio/l16;rate=" + "9" * 999, "audio/l16;rate=16000;channels=2",
])  # fmt: skip
def test_other_audio_is_refused(content_type: Any) -> None:
    text = json.dumps(CONNECTED | {"content-type": content_type})
    assert slip(DIALECT.service({}), text) == ("format", 1003)


@pytest.mark.parametrize(("message", "expected"), [
    ("hello", ("not_json", 1007)),
    ('{"a":' * 12_000, ("not_json", 1007)),
    ("[" * 60_000, ("bad_event", None)),
    ("{}", ("unknown_event", None)),
    ('{"event":"websocket:other"}', ("unknown_event", None)),
    ('{"event":["websocket:dtmf"]}', ("unknown_event", None)),
    ('{"event":"websocket:dtmf"}', ("bad_event", None)),
    ('{"event":"websocket:dtmf","digit":"12"}', ("bad_event", None)),
    ('{"event":"websocket:dtmf","digit":5}', ("bad_event", None)),
    ('{"event":"websocket:notify"}', ("bad_event", None)),
    ('{"event":"websocket:notify","payload":{"mark":1}}', ("bad_event", None)),
    (json.dumps(CONNECTED), ("second_start", None)),
    (bytes(639), ("half_sample", 1007)),
])  # fmt: skip
def test_each_slip_has_its_code(message: bytes | str, expected: tuple[str, int | None]) -> None:
    assert slip(started(), message) == expected


@pytest.mark.parametrize("message", [bytes(640), '{"event":"websocket:dtmf","digit":"5"}'])
def test_nothing_is_heard_before_the_start(message: bytes | str) -> None:
    assert slip(DIALECT.service({}), message) == ("before_start", None)


@given(events=st.lists(st.builds(Mark, st.text()) | st.just(Clear())))
def test_vonage_hears_what_the_service_says(events: list[Event]) -> None:
    assert passed_on(started(), DIALECT.peer(START), events) == events


@given(events=st.lists(st.builds(Mark, st.text()) | st.just(Cleared()) | DIGITS))
def test_the_service_hears_what_vonage_says(events: list[Event]) -> None:
    assert passed_on(DIALECT.peer(START), started(), events) == events


@given(audio=LINEAR)
def test_audio_of_vonage_is_passed_on(audio: bytes) -> None:
    assert started().hear(DIALECT.peer(START).audio(audio)) == audio


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_vonage_plays_frames_of_20_ms_only(rate: int) -> None:
    audio = Format("pcm16", rate)
    provider, frame = DIALECT.peer(Start(audio, audio)), bytes(rate // 25)
    assert provider.hear(frame) == frame
    for other in (b"", frame[:-2], frame + b"12", frame * 2):
        assert slip(provider, other) == ("lost", None)


def test_the_service_hears_the_start_that_vonage_says() -> None:
    [start] = passed_on(DIALECT.peer(START), DIALECT.service({}), [START])
    assert isinstance(start, Start)
    names = {"from": "447700900001", "to": "447700900002", "uuid": "c-1"}
    assert start.parameters == {"tries": "2"} | names
    assert (start.heard, start.call_id, start.from_, start.to) == (
        L16, "c-1", "447700900001", "447700900002",
    )  # fmt: skip


def test_vonage_is_silent_about_who_calls_where_nobody_has_told_it() -> None:
    [connected] = DIALECT.peer(START).say(Start(L16, L16))
    assert json.loads(connected) == CONNECTED


def test_vonage_says_several_keys_one_by_one_and_hangs_up_by_closing() -> None:
    provider = DIALECT.peer(START)
    assert passed_on(provider, started(), [Digits("1#")]) == [Digits("1"), Digits("#")]
    assert provider.say(Stop()) == ()


def test_vonage_refuses_what_it_does_not_know() -> None:
    provider = DIALECT.peer(START)
    assert slip(provider, '{"action":"dance"}') == ("unknown_event", None)
    with pytest.raises(ValueError, match="linear"):
        DIALECT.peer(Start(Format("ulaw", 8000), L16))
