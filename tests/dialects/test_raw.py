"""What a caller and the service say in text messages, at /ws/audio."""

import json
from contextlib import suppress
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import (
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Flow,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.raw import Caller, Service

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)  # fmt: skip
START = Start(Format("pcm16", 8000), Format("pcm16", 8000))
SERVICE, CALLER = Service({"events": "json"}), Caller(START)
EITHER = (
    st.builds(Mark, st.text())
    | st.builds(Digits, st.text("0123456789*#ABCD"))
    | st.builds(Message, ANYTHING)
)


def hear(text: str) -> Event:
    [event] = SERVICE.hear(text)
    assert not isinstance(event, bytes | int)
    return event


@pytest.mark.parametrize(("told", "event"), [
    ({"type": "mark", "name": "end"}, Mark("end")),
    ({"type": "mark", "name": ""}, Mark("")),
    ({"type": "cleared", "milliseconds": 1500}, Cleared(1.5)),
    ({"type": "cleared", "milliseconds": 0.5}, Cleared(0.0005)),
    ({"type": "digits", "digits": "12*#ABCD"}, Digits("12*#ABCD")),
    ({"type": "message", "message": None}, Message(None)),
    ({"type": "message", "message": {"a": [1.5]}, "more": 1}, Message({"a": [1.5]})),
])  # fmt: skip
def test_each_event_is_understood(told: dict[str, Any], event: Event) -> None:
    assert hear(json.dumps(told)) == event


@given(events=st.lists(EITHER | st.just(Clear()), max_size=3))
def test_a_caller_hears_what_the_service_says(events: list[Event]) -> None:
    assert [heard for event in events for said in SERVICE.say(event)
            for heard in CALLER.hear(said)] == events  # fmt: skip


@given(
    events=st.lists(
        EITHER | st.builds(Cleared, st.integers(0, 10**9).map(lambda n: n / 1000)), max_size=3
    )
)
def test_the_service_hears_what_a_caller_says(events: list[Event]) -> None:
    assert [hear(said) for event in events for said in CALLER.say(event)] == events


@given(audio=st.binary())
def test_audio_is_binary(audio: bytes) -> None:
    assert SERVICE.hear(CALLER.audio(audio)) == audio == CALLER.hear(SERVICE.audio(audio))


@pytest.mark.parametrize("event", [Stop(), Flow(open=True), Cleared(None)])
def test_there_is_no_word_for_some_events(event: Event) -> None:
    assert SERVICE.say(event) == CALLER.say(event) == ()


def test_a_caller_that_takes_no_events_is_told_nothing() -> None:
    half = Service({})
    assert half.say(Mark("x")) == half.say(Clear()) == half.say(Message(1)) == ()
    assert not half.marks
    assert not half.clears


@pytest.mark.parametrize("text", [
    "", "hello", "{", "\ufeff{}", '{"type": "mark", "name": "x"} x',
    "[" * 60_000, '{"a":' * 12_000, '{"type": "message", "message": ' + "[" * 30_000,
    '{"type": "message", "message": NaN}', '{"type": "message", "message": [-Infinity]}',
    '{"type": "message", "message": 1e999}', '{"type": "message", "message": ' + "9" * 5000 + "}",
    '{"type": "cleared", "milliseconds": NaN}',
])  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadMessage, match=r"^a text message must be JSON$") as bad:
        SERVICE.hear(text)
    assert (bad.value.slip, bad.value.code) == ("not_json", 1003)


@pytest.mark.parametrize("text", [
    "null", "1", '"mark"', "[]", "{}", '{"type": "started"}', '{"type": "clear"}', '{"type": null}',
    '{"type": "mark"}', '{"type": "mark", "name": 1}', '{"type": ["mark"], "name": "x"}',
    '{"type": "cleared"}', '{"type": "cleared", "milliseconds": "1"}',
    '{"type": "cleared", "milliseconds": -1}', '{"type": "cleared", "milliseconds": 1e300}',
    '{"type": "cleared", "milliseconds": ' + "9" * 4000 + "}",
    '{"type": "digits"}', '{"type": "digits", "digits": "1a"}', '{"type": "digits", "digits": 1}',
    '{"type": "message"}',
])  # fmt: skip
def test_other_messages_are_refused(text: str) -> None:
    with pytest.raises(BadMessage, match=r"^a text message must be a mark, cleared, digits or"):
        SERVICE.hear(text)


@given(text=st.text())
def test_any_text_is_an_event_or_a_bad_message(text: str) -> None:
    for each in (text, json.dumps({"type": text}), json.dumps({"type": "digits", "digits": text})):
        with suppress(BadMessage):
            assert isinstance(hear(each), Event)


@pytest.mark.parametrize("data", [nan, inf, [-inf]])
def test_a_number_that_json_does_not_have_is_an_error_of_who_sends_it(data: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        SERVICE.say(Message({"data": data}))


@pytest.mark.parametrize("data", [b"bytes", {1, 2}, object(), {(1, 2): 3}])
def test_what_json_cannot_say_is_a_type_error_of_who_sends_it(data: Any) -> None:
    with pytest.raises(TypeError):
        SERVICE.say(Message({"data": data}))
