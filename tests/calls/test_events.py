"""What a caller says in text messages."""

import json
from contextlib import suppress
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.events import Cleared, Digits, Event, Mark, Message, decode, encode

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)  # fmt: skip


@pytest.mark.parametrize(("told", "event"), [
    ({"type": "mark", "name": "end"}, Mark("end")),
    ({"type": "mark", "name": ""}, Mark("")),
    ({"type": "cleared", "milliseconds": 1500}, Cleared(1.5)),
    ({"type": "cleared", "milliseconds": 0.5}, Cleared(0.0005)),
    ({"type": "digits", "digits": "12*#ABCD"}, Digits("12*#ABCD")),
    ({"type": "message", "message": None}, Message(None)),
    ({"type": "message", "message": {"a": [1.5]}, "more": 1}, Message({"a": [1.5]})),
])  # fmt: skip
def test_each_event_is_understood(told: dict[str, Any], event: Event | Cleared) -> None:
    assert decode(json.dumps(told)) == event


@pytest.mark.parametrize("text", [
    "", "hello", "{", "\ufeff{}", '{"type": "mark", "name": "x"} x',
    "[" * 60_000, '{"a":' * 12_000, '{"type": "message", "message": ' + "[" * 30_000,
    '{"type": "message", "message": NaN}', '{"type": "message", "message": [-Infinity]}',
    '{"type": "message", "message": 1e999}', '{"type": "message", "message": ' + "9" * 5000 + "}",
    '{"type": "cleared", "milliseconds": NaN}',
])  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a text message must be JSON$"):
        decode(text)


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
    with pytest.raises(ValueError, match=r"^a text message must be a mark, cleared, digits or"):
        decode(text)


@given(data=ANYTHING)
def test_a_handler_can_send_back_whatever_a_caller_has_sent(data: Any) -> None:
    heard = decode(json.dumps({"type": "message", "message": data}))
    assert heard == Message(data)
    assert decode(encode({"type": "message", "message": heard.data})) == heard


@given(text=st.text())
def test_any_text_is_an_event_or_a_value_error(text: str) -> None:
    for each in (text, json.dumps({"type": text}), json.dumps({"type": "digits", "digits": text})):
        with suppress(ValueError):
            assert isinstance(decode(each), Event | Cleared)


@pytest.mark.parametrize("data", [nan, inf, [-inf]])
def test_a_number_that_json_does_not_have_is_an_error_of_who_sends_it(data: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"data": data})


@pytest.mark.parametrize("data", [b"bytes", {1, 2}, object(), {(1, 2): 3}])
def test_what_json_cannot_say_is_a_type_error_of_who_sends_it(data: Any) -> None:
    with pytest.raises(TypeError):
        encode({"data": data})
