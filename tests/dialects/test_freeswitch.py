"""The messages of FreeSWITCH's mod_audio_stream and ours, at /ws/freeswitch."""

import json
from base64 import b64encode
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import Clear, Digits, Event, Format, Mark, Message, Start, Stop
from service.dialects.freeswitch import DIALECT
from service.dialects.half import Half
from tests.dialects.halves import LINEAR, heard, passed_on, slip

L16 = Format("pcm16", 8000)
START = Start(L16, L16, "", "c-1", "1000", "1001", {"lang": "en"})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


def started(**query: str) -> Half:
    half = DIALECT.service(query)
    half.hear(b"")
    return half


def streamed(audio: bytes, **members: Any) -> str:
    data = {"audioDataType": "raw", "sampleRate": 8000, "audioData": b64encode(audio).decode()}
    return json.dumps({"type": "streamAudio", "data": data | members})


def test_a_call_from_begin_to_end() -> None:
    half = DIALECT.service({"sample_rate": "16000", "team": "a"})
    names = {"from": "1000", "to": "1001", "uuid": "u-1"}
    metadata = {**names, "tries": 2}
    wide = Format("pcm16", 16000)
    assert heard(half, [json.dumps(metadata)]) == [
        Start(
            wide, wide, "", "u-1", "1000", "1001",
            {"sample_rate": "16000", "team": "a", **names, "tries": "2"}, metadata,
        )
    ]  # fmt: skip
    frame = bytes(640)
    assert half.hear(frame) is frame
    said = half.audio(frame)
    assert isinstance(said, str)
    assert json.loads(said) == json.loads(streamed(frame, sampleRate=16000))
    texts = heard(half, ["hello", '{"bye":1}'])
    assert texts == [Message("hello"), Message({"bye": 1})]
    assert [text.characters for text in texts if isinstance(text, Message)] == [5, 9]
    assert [json.loads(text) for text in half.say(Message({"event": "break"}))] == [
        {"event": "break"}
    ]
    for event in (Mark("m"), Clear(), Digits("1"), Stop()):
        assert half.say(event) == ()


@pytest.mark.parametrize(("message", "metadata"), [
    ("hello", {"metadata": "hello"}), ("[1]", {"metadata": [1]}), ("", {"metadata": ""}),
    ('{"a":', {"metadata": '{"a":'}), ("[" * 20_000, {"metadata": "[" * 20_000}), ("{}", {}),
])  # fmt: skip
def test_any_text_may_come_first(message: str, metadata: dict[str, Any]) -> None:
    [start] = heard(DIALECT.service({}), [message])
    assert isinstance(start, Start)
    assert (start.heard, start.played, start.said) == (L16, L16, metadata)


def test_audio_may_come_first_too() -> None:
    half = DIALECT.service({})
    assert heard(half, [b"ab", "late", b"cd"]) == [Start(L16, L16), b"ab", Message("late"), b"cd"]


@pytest.mark.parametrize("rate", ["", "x", "11025", "64000", "-8000", "8e3"])
def test_other_rates_are_refused(rate: str) -> None:
    for message in ("hello", b"ab"):
        assert slip(DIALECT.service({"sample_rate": rate}), message) == ("format", 1003)


def test_half_a_sample_ends_the_call() -> None:
    assert slip(started(), bytes(3)) == slip(DIALECT.service({}), bytes(3)) == ("half_sample", 1007)


@pytest.mark.parametrize(("message", "expected"), [
    (bytes(3), ("half_sample", 1007)),
    (streamed(bytes(3)), ("half_sample", 1007)),
    (streamed(b"", audioData="A"), ("bad_base64", 1007)),
    (streamed(b"", audioData="é"), ("bad_base64", 1007)),
    (streamed(b"", audioData="AA\n=="), ("bad_base64", 1007)),
    (streamed(b"", audioData=None), ("bad_event", None)),
    (streamed(b"", audioDataType="mp3"), ("bad_event", None)),
    (streamed(b"", sampleRate=16000), ("bad_event", None)),
    ('{"type":"streamAudio","data":[]}', ("bad_event", None)),
])  # fmt: skip
def test_the_module_refuses_what_it_cannot_play(
    message: bytes | str, expected: tuple[str, int | None]
) -> None:
    assert slip(DIALECT.peer(START), message) == expected


@given(events=st.lists(st.builds(Message, ANYTHING), max_size=2))
def test_each_hears_the_others_messages(events: list[Event]) -> None:
    assert passed_on(started(), DIALECT.peer(START), events) == events
    assert passed_on(DIALECT.peer(START), started(), events) == events


@given(audio=LINEAR)
def test_audio_is_passed_on(audio: bytes) -> None:
    provider, service = DIALECT.peer(START), started()
    assert provider.hear(service.audio(audio)) == audio == service.hear(provider.audio(audio))
    assert provider.hear(audio) == audio


def test_the_service_hears_the_start_that_the_module_says() -> None:
    [start] = passed_on(DIALECT.peer(START), DIALECT.service({}), [START])
    metadata = {"uuid": "c-1", "from": "1000", "to": "1001", "lang": "en"}
    assert start == Start(L16, L16, "", "c-1", "1000", "1001", metadata, metadata)


def test_the_module_says_no_more_than_it_has_words_for() -> None:
    provider = DIALECT.peer(START)
    assert provider.say(Start(L16, L16)) == provider.say(Stop()) == provider.say(Digits("1")) == ()
    for other in (Format("ulaw", 8000), Format("pcm16", 16000)):
        with pytest.raises(ValueError, match="linear"):
            DIALECT.peer(Start(other, L16))


@pytest.mark.parametrize(("data", "error"), [(nan, ValueError), (b"", TypeError), ({1}, TypeError)])
def test_what_json_cannot_say_is_an_error_of_who_sends_it(
    data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        started().say(Message(data))
